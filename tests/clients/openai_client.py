#!/usr/bin/env python3
"""The official `openai` client against a running server.

    pip install openai
    python3 tests/clients/openai_client.py [http://127.0.0.1:8080]

Prints a line for each check, and ends with 1 if one failed. What the model says is only compared with
what it says again: a demo model may be wrong about France.
"""

import sys

import openai

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
PROMPT = "The capital of France is"

checks = []


def check(function):
    checks.append(function)
    return function


def text_of_chat(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def finishes(chunks):
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


@check
def the_model_is_listed(client, model):
    assert [entry.id for entry in client.models.list().data] == [model]
    assert client.models.retrieve(model).id == model


@check
def chat_answers(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=32, temperature=0)
    (choice,) = answer.choices
    assert choice.message.role == "assistant" and choice.message.content.strip(), answer
    assert choice.finish_reason in ("stop", "length"), answer
    assert 0 < answer.usage.completion_tokens <= 32, answer.usage
    total = answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.total_tokens == total, answer.usage


@check
def a_chat_stream_says_what_the_answer_says(client, model):
    options = dict(model=model, messages=QUESTION, max_tokens=32, temperature=0)
    answer = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **options))
    assert text_of_chat(chunks) == answer.choices[0].message.content
    assert finishes(chunks) == [answer.choices[0].finish_reason]
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == answer.usage.total_tokens
    assert len({chunk.id for chunk in chunks}) == 1


@check
def a_completion_answers(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0)
    (choice,) = answer.choices
    assert choice.text and choice.finish_reason in ("stop", "length"), answer
    assert answer.usage.prompt_tokens > 0, answer.usage


@check
def a_completion_stream_says_what_the_completion_says(client, model):
    options = dict(model=model, prompt=PROMPT, max_tokens=8, temperature=0)
    answer = client.completions.create(**options)
    chunks = list(client.completions.create(stream=True, **options))
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == answer.choices[0].text, (text, answer)
    assert finishes(chunks) == [answer.choices[0].finish_reason]


@check
def a_stop_string_is_not_part_of_the_text(client, model):
    options = dict(model=model, prompt="1 2 3 4 5 6", max_tokens=24, temperature=0)
    whole = client.completions.create(**options).choices[0].text
    assert len(whole) >= 4, whole
    stop = whole[2:4]
    choice = client.completions.create(stop=[stop], **options).choices[0]
    assert choice.finish_reason == "stop" and choice.text == whole[: whole.index(stop)], choice


@check
def a_seed_draws_the_same_again(client, model):
    options = dict(model=model, messages=QUESTION, max_tokens=16, temperature=1, seed=7)
    first, second = (client.chat.completions.create(**options).choices[0] for _ in range(2))
    assert first.message.content == second.message.content


@check
def an_unknown_model_is_not_found(client, model):
    try:
        client.chat.completions.create(model=model + "-none", messages=QUESTION)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("it was found")


@check
def a_bad_value_is_a_bad_request_that_names_it(client, model):
    try:
        client.chat.completions.create(model=model, messages=QUESTION, temperature=-1)
    except openai.BadRequestError as error:
        assert error.param == "temperature", error
    else:
        raise AssertionError("it was accepted")


@check
def a_stream_may_be_left_and_the_server_goes_on(client, model):
    stream = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=512, temperature=0, stream=True)
    next(iter(stream))
    stream.close()
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=1)
    assert answer.usage.completion_tokens == 1


def main():
    address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
    client = openai.OpenAI(base_url=address.rstrip("/") + "/v1", api_key="none", max_retries=0, timeout=120)
    model = client.models.list().data[0].id
    num_failed = 0
    for function in checks:
        name = function.__name__.replace("_", " ")
        try:
            function(client, model)
        except Exception as error:
            num_failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {error}")
        else:
            print(f"PASS {name}")
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
