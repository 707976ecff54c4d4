//! Requests that go well, and requests that are refused.

use std::sync::Arc;

use engine_contract::TokenId;
use runtime::{FinishReason, Generate, Message, Prompt, Refused};
use runtime_core::{QueueBound, Rejected};
use tests::bytes;
use tests::fake::{babbles, says};

use crate::world::{Heard, ask, end, listen, run, run_with, until};

#[test]
fn a_chat_is_answered_to_its_end() {
    run(says("héllo"), async |world| {
        let message = Message { role: "user".to_owned(), content: "hi".to_owned() };
        let chat = Generate { prompt: Prompt::Chat(vec![message].into()), ..ask("") };
        let generation = world.worker.generate(chat).await.unwrap();
        let num_prompt = generation.prompt_tokens();
        assert_eq!(num_prompt, 21, "<|im_start|>user\\nhi<|im_end|>\\n<|im_start|>assistant\\n");
        let heard = listen(generation).await;
        assert_eq!((heard.text.as_str(), heard.num_tokens), ("héllo", 6));
        assert_eq!(heard.end, end(FinishReason::Stop, num_prompt, 7), "the end token counts");
        world.is_quiet().await;
        for line in [
            r#"requests_total{model="bytes",outcome="stop"} 1"#,
            r#"prompt_tokens_total{model="bytes"} 21"#,
            r#"output_tokens_total{model="bytes"} 7"#,
            r#"ttft_seconds_count{model="bytes"} 1"#,
            r#"itl_seconds_count{model="bytes"} 5"#,
            r#"queue_seconds_count{model="bytes"} 1"#,
            r#"request_seconds_count{model="bytes"} 1"#,
        ] {
            world.shows(line).await;
        }
    });
}

#[test]
fn an_output_ends_at_its_length_or_at_the_contexts() {
    run(babbles(), async |world| {
        let three = Generate { max_tokens: Some(3), ..ask("abcd") };
        let heard = listen(world.worker.generate(three).await.unwrap()).await;
        assert_eq!((heard.text.len(), heard.end), (3, end(FinishReason::Length, 4, 3)));
        let heard = listen(world.say("abcd").await).await;
        let room = bytes::CONTEXT - 4;
        assert_eq!((heard.num_tokens, heard.end), (room, end(FinishReason::Length, 4, room)));
        world.is_quiet().await;
    });
}

#[test]
fn ends_are_ignored_on_request_and_stop_tokens_are_heeded() {
    run(says("ab"), async |world| {
        let ends = runtime::Ends::Ignore;
        let ignoring = Generate { ends, max_tokens: Some(5), ..ask("x") };
        let heard = listen(world.worker.generate(ignoring).await.unwrap()).await;
        assert_eq!(
            (heard.text.as_str(), heard.num_tokens),
            ("ab", 5),
            "control tokens have no text"
        );
        assert_eq!(heard.end, end(FinishReason::Length, 1, 5));
        let stopping = Generate { stop_tokens: vec![bytes::byte(b'b')], ..ask("x") };
        let heard = listen(world.worker.generate(stopping).await.unwrap()).await;
        assert_eq!((heard.text.as_str(), heard.end), ("a", end(FinishReason::Stop, 1, 2)));
        world.is_quiet().await;
    });
}

#[test]
fn what_a_slow_reader_does_not_take_is_merged() {
    run(says("a long story"), async |world| {
        let generation = world.say("tell").await;
        // Everything has been said before the first delta is taken.
        world.shows(r#"requests_total{model="bytes",outcome="stop"} 1"#).await;
        let heard = listen(generation).await;
        let merged = Heard {
            text: "a long story".to_owned(),
            num_tokens: 12,
            num_deltas: 1,
            end: end(FinishReason::Stop, 4, 13),
        };
        assert_eq!(heard, merged);
        world.is_quiet().await;
    });
}

#[test]
fn a_stop_string_ends_the_output_and_none_of_it_is_told() {
    run(says("one two three four"), async |world| {
        let stopping = Generate { stop: vec!["wo thr".to_owned()], ..ask("x") };
        let heard = listen(world.worker.generate(stopping).await.unwrap()).await;
        assert_eq!((heard.text.as_str(), heard.num_tokens), ("one t", 11));
        assert_eq!(heard.end, end(FinishReason::Stop, 1, 11), "up to the token that completed it");
        world.is_quiet().await;
        assert_eq!(world.handle.snapshot().cancelled_total, 1);
        let line = r#"cancellations_total{model="bytes",cause="stop_string",phase="decode"} 1"#;
        world.shows(line).await;
        world.shows(r#"requests_total{model="bytes",outcome="stop"} 1"#).await;
    });
}

#[test]
fn what_only_looked_like_a_stop_string_is_told_at_the_end() {
    run(says("one tw\u{e9}"), async |world| {
        let stop = vec!["tw\u{e9}n".to_owned()];
        let hoping = Generate { stop, ..ask("x") };
        let heard = listen(world.worker.generate(hoping).await.unwrap()).await;
        assert_eq!((heard.text.as_str(), heard.num_tokens), ("one tw\u{e9}", 8));
        assert_eq!(heard.end, end(FinishReason::Stop, 1, 9));
        // A character that is never completed.
        let cut = Generate { max_tokens: Some(7), ..ask("x") };
        let heard = listen(world.worker.generate(cut).await.unwrap()).await;
        assert_eq!((heard.text.as_str(), heard.num_tokens), ("one tw\u{fffd}", 7));
        world.is_quiet().await;
    });
}

#[test]
fn a_prompt_is_the_same_wherever_it_is_encoded() {
    run_with(
        |options| options.config.encode_inline_bytes_max = 0,
        says("yes"),
        async |world| {
            let generation = world.say("a question<|im_end|>").await;
            assert_eq!(generation.prompt_tokens(), 11);
            assert_eq!(listen(generation).await.text, "yes");
            world.is_quiet().await;
        },
    );
}

#[test]
fn many_requests_from_two_workers_are_each_answered_as_if_alone() {
    let prompts: Vec<String> = (0..24).map(|number| format!("prompt {number}")).collect();
    let ask = |prompt: &str| Generate { max_tokens: Some(20), ..ask(prompt) };
    run(babbles(), async |world| {
        let mut alone = Vec::new();
        for prompt in &prompts {
            alone.push(listen(world.worker.generate(ask(prompt)).await.unwrap()).await.text);
        }
        let other = actix_rt::Arbiter::new();
        let (send, receive) = crossbeam_channel::bounded(prompts.len());
        let (handle, theirs) = (world.handle.clone(), prompts.clone());
        other.spawn_fn(move || {
            let worker = handle.worker();
            for prompt in theirs {
                let generation = worker.generate(ask(&prompt));
                let send = send.clone();
                actix_rt::spawn(async move {
                    let text = listen(generation.await.unwrap()).await.text;
                    send.send((prompt, text)).unwrap();
                });
            }
        });
        let ours = prompts.iter().map(|prompt| {
            let generation = world.worker.generate(ask(prompt));
            actix_rt::spawn(async move { listen(generation.await.unwrap()).await.text })
        });
        for (text, alone) in ours.collect::<Vec<_>>().into_iter().zip(&alone) {
            assert_eq!(text.await.unwrap(), *alone);
        }
        until("the other worker", || receive.len() == prompts.len()).await;
        for (prompt, text) in receive.try_iter() {
            let number = prompts.iter().position(|known| *known == prompt).unwrap();
            assert_eq!(text, alone[number], "{prompt}");
        }
        world.is_quiet().await;
        other.stop();
        other.join().unwrap();
    });
}

#[test]
fn what_cannot_be_served_is_refused_and_counted() {
    run(says("x"), async |world| {
        let too_long = "x".repeat(bytes::CONTEXT as usize);
        let unknown: Arc<[TokenId]> = Arc::new([TokenId(1), TokenId(bytes::VOCAB)]);
        let (prompt, context) = (bytes::CONTEXT, bytes::CONTEXT);
        for (given, refused, reason) in [
            (Prompt::Text(String::new()), Rejected::EmptyPrompt.into(), "empty_prompt"),
            (
                Prompt::Text(too_long),
                Rejected::ContextExceeded { prompt, context }.into(),
                "context_exceeded",
            ),
            (
                Prompt::Tokens(unknown),
                Refused::UnknownToken { token: bytes::VOCAB, vocab: bytes::VOCAB },
                "unknown_token",
            ),
        ] {
            let given = Generate { prompt: given, ..ask("") };
            assert_eq!(world.worker.generate(given).await.err(), Some(refused));
            world
                .shows(&format!("requests_refused_total{{model=\"bytes\",reason=\"{reason}\"}} 1"))
                .await;
        }
        world.is_quiet().await;
    });
}

#[test]
fn a_full_queue_refuses_and_takes_again_when_it_has_room() {
    let one_by_one = |options: &mut crate::world::Options| {
        options.config.rows_max = 1;
        options.config.waiting_max = 1;
    };
    run_with(one_by_one, says("x"), async |world| {
        world.fake.hold();
        let running = world.say("first").await;
        until("the first to run", || world.handle.snapshot().running == 1).await;
        let waiting = world.say("second").await;
        let refused = world.worker.generate(ask("third")).await.err();
        let bound = QueueBound::Requests(1);
        let retry_after_us = world.handle.snapshot().retry_after_us;
        assert_eq!(refused, Some(Rejected::QueueFull { waiting: 1, bound, retry_after_us }.into()));
        world.fake.release();
        assert_eq!(listen(running).await.text, "x");
        assert_eq!(listen(waiting).await.text, "x");
        assert_eq!(listen(world.say("third").await).await.text, "x");
        world.is_quiet().await;
    });
}
