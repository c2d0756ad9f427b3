"""Calls a service over scripted models through the official OpenAI client and checks what its helpers make of it."""

import io
import json
import os

from openai import BadRequestError, NotFoundError, OpenAI, PermissionDeniedError

CHAT = os.environ["ANSER_MODEL"]
client = OpenAI(base_url=f"{os.environ['ANSER_URL']}/v1", api_key="unused", max_retries=0)
QUESTION = "Within how many days are parcels returned?"
REPLY = "Parcels are returned within 30 days."
SEARCH = [{"type": "file_search", "vector_store_ids": ["shop"]}]


def fails(kind, param, call):
    try:
        call()
    except kind as error:
        assert error.body["param"] == param and error.request_id, error.body
    else:
        raise AssertionError(f"{param} must be refused")


def responses() -> None:
    whole = client.responses.create(model=CHAT, input="hi", instructions="be brief")
    assert whole.output_text == REPLY and whole.status == "completed" and whole.usage.total_tokens > 0
    with client.responses.stream(model=CHAT, input="hi") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == stream.get_final_response().output_text == REPLY
    grounded = client.responses.create(
        model=CHAT, input=QUESTION, tools=SEARCH, include=["file_search_call.results"]
    )
    search, message = grounded.output
    assert search.type == "file_search_call" and search.queries == [QUESTION]
    citation = message.content[0].annotations[0]
    assert citation.type == "file_citation" and search.results[citation.index].file_id == citation.file_id == "returns"
    with client.responses.stream(model=CHAT, input=QUESTION, tools=SEARCH) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == REPLY and final.output[1].content[0].annotations
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    with client.responses.stream(model=CHAT, input="zzz qqq", tools=SEARCH) as stream:
        final = stream.get_final_response()
    assert final.output[1].content[0].type == "refusal" and final.output_text == ""
    raw = list(client.responses.create(model=CHAT, input="hi", stream=True))
    assert [event.sequence_number for event in raw] == list(range(len(raw)))
    # The turn before goes back in as it came out.
    turns = [{"role": "user", "content": "hi"}, *whole.output, {"role": "user", "content": "and now?"}]
    assert client.responses.create(model=CHAT, input=turns).output_text == REPLY
    fails(BadRequestError, "previous_response_id", lambda: client.responses.create(
        model=CHAT, input="hi", previous_response_id=whole.id))
    fails(NotFoundError, None, lambda: client.responses.retrieve(whole.id))


def completions() -> None:
    whole = client.completions.create(model=CHAT, prompt="Once", max_tokens=50)
    assert whole.choices[0].text == REPLY and whole.choices[0].finish_reason == "stop"
    pieces = client.completions.create(model=CHAT, prompt="Once", max_tokens=50, stream=True)
    assert "".join(chunk.choices[0].text for chunk in pieces) == REPLY


def moderations() -> None:
    reply = client.moderations.create(input=["parcels", "postage"])
    assert len(reply.results) == 2 and reply.results[0].category_scores.self_harm_instructions is not None
    assert reply.results[0].category_applied_input_types.violence == ["text"]


def files() -> None:
    made = [
        client.files.create(
            file=(f"{at}.txt", io.BytesIO(b"x" * (at + 1))),
            purpose="user_data",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        for at in range(7)
    ]
    assert all(3599 <= file.expires_at - file.created_at <= 3600 for file in made)
    listed = [file.id for file in client.files.list(purpose="user_data", limit=3)]
    assert listed == [file.id for file in reversed(made)], "pages are walked to their end"
    assert client.files.content(made[4].id).read() == b"xxxxx"
    with client.files.with_streaming_response.content(made[2].id) as streamed:
        assert b"".join(streamed.iter_bytes()) == b"xxx"
    fails(BadRequestError, "file", lambda: client.files.create(file=("t.jsonl", b"{}\n"), purpose="fine-tune"))
    fails(NotFoundError, None, lambda: client.files.retrieve("file-unknown"))


def jobs() -> None:
    line = json.dumps({"messages": [{"role": "user", "content": "WAIT"}, {"role": "assistant", "content": "yes"}]})
    data = client.files.create(file=("t.jsonl", (line + "\n").encode() * 12), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=CHAT,
        training_file=data.id,
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": "auto"}}},
        metadata={"team": "a"},
        extra_body={"anser": {"parts": {"type": "lora", "rank": 4}}},
    )
    assert job.method.dpo.hyperparameters.beta == 0.1 and job.seed is not None and job.result_files == []
    assert [one.id for one in client.fine_tuning.jobs.list(metadata={"team": "a"})] == [job.id]
    assert list(client.fine_tuning.jobs.list(metadata={"team": "b"})) == []
    for status, call in [("paused", client.fine_tuning.jobs.pause), ("cancelled", client.fine_tuning.jobs.cancel)]:
        call(job.id)
        while client.fine_tuning.jobs.retrieve(job.id).status != status:
            pass
    fails(BadRequestError, None, lambda: client.fine_tuning.jobs.cancel(job.id))
    fails(NotFoundError, None, lambda: client.fine_tuning.jobs.retrieve("ftjob-unknown"))
    fails(PermissionDeniedError, "model", lambda: client.models.delete(CHAT))


for walk in [responses, completions, moderations, files, jobs]:
    walk()
print("ok")
