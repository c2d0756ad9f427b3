"""Fine-tunes a model through the official OpenAI client: only the base URL is changed.

    anser serve                                   # in one terminal
    python fine_tuning.py                         # in another: tunes the served chat model on the house style
    python fine_tuning.py --help                  # other data, another model, another server
"""

import argparse
import csv
import io
import os
import time
from pathlib import Path

from openai import NotFoundError, OpenAI

HERE = Path(__file__).resolve().parent


def arguments() -> argparse.Namespace:
    """What to tune, on what, and where. Each argument may also come from the environment."""
    env = os.environ.get
    data = HERE.parent / "data" / "house_style"
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base-url", default=env("ANSER_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--model", default=env("ANSER_MODEL"), help="base model [default: the served chat model]")
    parser.add_argument("--training-file", type=Path, default=env("ANSER_TRAINING_FILE", data / "train.jsonl"))
    parser.add_argument("--validation-file", type=Path, default=env("ANSER_VALIDATION_FILE"))
    parser.add_argument("--epochs", type=int, default=env("ANSER_EPOCHS"), help="[default: auto]")
    parser.add_argument("--question", default=env("ANSER_QUESTION", "When does the shop open?"))
    parser.add_argument("--keep", action="store_true", help="leave the tuned model and the files on the server")
    return parser.parse_args()


def chat_model(client: OpenAI) -> str:
    """The served chat model that is not tuned itself."""
    served = [model for model in client.models.list() if not model.id.startswith("ft:")]
    return next(model.id for model in served if getattr(model, "role", "chat") == "chat")


def upload(client: OpenAI, path: Path) -> str:
    """A training file on the server, which checks every line of it first."""
    with open(path, "rb") as file:
        uploaded = client.files.create(file=file, purpose="fine-tune")
    uploaded = client.files.wait_for_processing(uploaded.id)
    assert uploaded.status == "processed" and uploaded.bytes == path.stat().st_size
    print(f"uploaded: {uploaded.filename}, {uploaded.bytes} bytes, {uploaded.id}")
    return uploaded.id


def wait(client: OpenAI, job_id: str):
    """Polls the job and prints its events as they come, until it has ended."""
    seen: set[str] = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        events = client.fine_tuning.jobs.list_events(job_id, limit=100).data
        for event in reversed(events):
            if event.id not in seen:
                seen.add(event.id)
                print(f"  {event.level}: {event.message}")
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.5)


def results(client: OpenAI, job) -> list[dict[str, str]]:
    """The loss and accuracy of every step, from the job's result file."""
    table = client.files.content(job.result_files[0]).read().decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    columns = ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert list(rows[0]) == columns, list(rows[0])
    first, last = rows[0], rows[-1]
    print(f"results: {len(rows)} steps, loss {float(first['train_loss']):.3f} -> {float(last['train_loss']):.3f}")
    return rows


def ask(client: OpenAI, model: str, question: str) -> str:
    """One reply of a model."""
    messages = [{"role": "user", "content": question}]
    reply = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=60)
    assert reply.model == model
    return reply.choices[0].message.content


def main() -> None:
    args = arguments()
    client = OpenAI(base_url=f"{args.base_url}/v1", api_key=os.environ.get("ANSER_API_KEY", "unused"), max_retries=0)
    base = args.model or chat_model(client)
    files = [upload(client, Path(args.training_file))]
    if args.validation_file:
        files.append(upload(client, Path(args.validation_file)))

    job = client.fine_tuning.jobs.create(
        model=base,
        training_file=files[0],
        validation_file=files[1] if len(files) > 1 else None,
        suffix="example",
        seed=7,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": int(args.epochs) if args.epochs else "auto"}},
        },
        metadata={"example": "fine_tuning.py"},
    )
    print(f"job: {job.id}, {job.status}")
    assert job.id in [one.id for one in client.fine_tuning.jobs.list(limit=5)]
    job = wait(client, job.id)
    assert job.status == "succeeded", f"{job.status}: {job.error.message if job.error else ''}"
    assert job.fine_tuned_model.startswith(f"ft:{base}:") and ":example:" in job.fine_tuned_model
    settings = job.method.supervised.hyperparameters
    print(f"trained: {job.trained_tokens} tokens, {settings.n_epochs} epochs of batches of {settings.batch_size}")
    assert isinstance(settings.n_epochs, int) and isinstance(settings.batch_size, int), "auto is resolved"

    metrics = [event for event in client.fine_tuning.jobs.list_events(job.id) if event.type == "metrics"]
    rows = results(client, job)
    assert len(metrics) == len(rows), "every step has an event"
    assert metrics[0].data["step"] == len(rows), "the newest event comes first"
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    for checkpoint in checkpoints:
        print(f"checkpoint: step {checkpoint.step_number}, loss {checkpoint.metrics.train_loss:.3f}")
    assert checkpoints and all(one.fine_tuning_job_id == job.id for one in checkpoints)

    print("base: ", ask(client, base, args.question))
    print("tuned:", ask(client, job.fine_tuned_model, args.question))
    assert ask(client, checkpoints[0].fine_tuned_model_checkpoint, args.question) is not None
    assert client.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model
    assert job.fine_tuned_model in [model.id for model in client.models.list()]

    if not args.keep:
        assert client.models.delete(job.fine_tuned_model).deleted
        for file in [*files, *job.result_files]:
            assert client.files.delete(file).deleted
        try:
            ask(client, job.fine_tuned_model, args.question)
        except NotFoundError as error:
            print("deleted:", error.body["message"])
        else:
            raise AssertionError("a deleted model must be gone")
    print("ok")


if __name__ == "__main__":
    main()
