"""Uses a running Anser server through the official OpenAI client: only the base URL is changed.

    anser demo                      # in one terminal
    python client.py                # in another; ANSER_URL names another server
"""

import json
import os
import urllib.request

from openai import NotFoundError, OpenAI

URL = os.environ.get("ANSER_URL", "http://127.0.0.1:8080")
COLLECTION = os.environ.get("ANSER_COLLECTION", "shop-faq")

client = OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("ANSER_API_KEY", "unused"), max_retries=0)


def models() -> tuple[str, str]:
    """The embedder's and the chat model's name."""
    served = {model.id for model in client.models.list()}
    print("models:", ", ".join(sorted(served)))
    embedder = next(name for name in served if "bge" in name or "MiniLM-L6" in name)
    chat = next(name for name in served if "Instruct" in name)
    return embedder, chat


def embeddings(model: str) -> None:
    """Two phrases about the same thing are closer than two about different things."""
    texts = ["free delivery", "no shipping costs", "the kettle leaks"]
    reply = client.embeddings.create(model=model, input=texts)
    assert [item.index for item in reply.data] == [0, 1, 2]
    a, b, c = (item.embedding for item in reply.data)

    def cosine(x: list[float], y: list[float]) -> float:
        return sum(p * q for p, q in zip(x, y))

    assert cosine(a, b) > cosine(a, c), "related phrases must be closer"
    floats = client.embeddings.create(model=model, input=texts[0], encoding_format="float").data[0].embedding
    assert max(abs(p - q) for p, q in zip(a, floats)) < 0.01, "base64 and float must carry the same vector"
    print(f"embeddings: {len(a)} dimensions, {reply.usage.total_tokens} tokens, related {cosine(a, b):.2f} > unrelated {cosine(a, c):.2f}")


def chat(model: str) -> None:
    """The same greedy reply, whole and streamed."""
    messages = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
    whole = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=40)
    text = whole.choices[0].message.content
    print("chat:", text)
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    streamed, usage = "", None
    for chunk in client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=40, stream=True, stream_options={"include_usage": True}
    ):
        if chunk.choices:
            streamed += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
    assert streamed == text, f"streamed {streamed!r}, whole {text!r}"
    assert usage.completion_tokens == whole.usage.completion_tokens


def errors() -> None:
    """Errors arrive as the client's own exceptions."""
    try:
        client.embeddings.create(model="no-such-model", input="hello")
    except NotFoundError as error:
        assert error.request_id, "every reply carries a request id"
        print("errors:", error.body["message"])
    else:
        raise AssertionError("an unknown model must be refused")


def answer() -> None:
    """An answer with citations, through the native route."""
    request = urllib.request.Request(
        f"{URL}/v1/collections/{COLLECTION}/answers",
        data=json.dumps({"question": "Until when is a gift card valid?"}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {client.api_key}"},
    )
    with urllib.request.urlopen(request) as response:
        reply = json.load(response)
    print("answer:", reply["text"])
    numbers = {passage["number"] for passage in reply["passages"]}
    assert reply["citations"], "the answer must be cited"
    for citation in reply["citations"]:
        assert citation["number"] in numbers
        print(f"  [{citation['number']}] {citation['document_id']}: {citation['quote']}")


if __name__ == "__main__":
    embedder, chat_model = models()
    embeddings(embedder)
    chat(chat_model)
    errors()
    answer()
    print("ok")
