"""LoRA steps with Hugging Face peft and transformers on PyTorch, from the same GGUF file."""

import os
import resource
import time

import peft
import torch
import transformers

from peer import serve

state = {}


def load(model, threads, precision, rank, alpha, learning_rate):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    folder, file = os.path.split(model)
    # Unpacked to f32 first: asked for bf16 at once, some versions keep packed weights and cast around every product.
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    base = base.to({"f32": torch.float32, "bf16": torch.bfloat16}[precision])
    projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=projections, task_type="CAUSAL_LM"
    )
    state["model"] = peft.get_peft_model(base, config).train()
    trainable = [p for p in state["model"].parameters() if p.requires_grad]
    state["trainable"] = trainable
    state["optimizer"] = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=0.0)
    return {
        "versions": {
            "peft": peft.__version__,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        },
        "trainable": sum(p.numel() for p in trainable),
    }


def step(sequences, targets_from):
    """One optimiser step on sequences of one length; the loss counts the tokens from `targets_from` on."""
    ids = torch.tensor(sequences)
    labels = ids.clone()
    labels[:, :targets_from] = -100
    started = time.perf_counter()
    loss = state["model"](input_ids=ids, labels=labels).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state["trainable"], 1.0)
    state["optimizer"].step()
    state["optimizer"].zero_grad(set_to_none=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "loss": float(loss.detach()), "peak_bytes": peak}


serve({"load": load, "step": step})
