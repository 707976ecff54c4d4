//! Clients that leave or stall, in every phase: no later step names them, and everything comes
//! home.

use std::pin::pin;

use engine_contract::SequenceId;
use runtime::{Delta, Failure, Generate};
use tests::fake::{babbles, says};

use crate::world::{World, ask, end, failed, listen, next, poll_once, run, run_with, until};

/// The first request of a world's one worker.
const FIRST: SequenceId = SequenceId(0);
/// The second one.
const SECOND: SequenceId = SequenceId(1);

/// Checks that `gone` is in no step from now on, though others are, and that everything comes home.
async fn is_forgotten(world: &World, gone: SequenceId, cause: &str, phase: &str) {
    until("the cancellation", || world.handle.snapshot().cancelled_total == 1).await;
    let from = world.fake.num_steps();
    world.fake.release();
    let short = Generate { max_tokens: Some(4), ..ask("another") };
    assert_eq!(listen(world.worker.generate(short).await.unwrap()).await.num_tokens, 4);
    world.is_quiet().await;
    let steps = world.fake.steps(from);
    assert!(!steps.is_empty() && steps.iter().flatten().all(|named| *named != gone), "{steps:?}");
    world
        .shows(&format!(
            "cancellations_total{{model=\"bytes\",cause=\"{cause}\",phase=\"{phase}\"}} 1"
        ))
        .await;
}

#[test]
fn a_client_leaves_before_it_is_asked_for() {
    run(says("x"), async |world| {
        drop(world.worker.generate(ask("hello")));
        let short = world.say("another").await;
        assert_eq!(listen(short).await.text, "x");
        world.is_quiet().await;
        assert_eq!(world.handle.snapshot().submitted_total, 1);
    });
}

#[test]
fn a_client_leaves_before_its_prompt_is_encoded() {
    run_with(
        |options| options.config.encode_inline_bytes_max = 0,
        says("x"),
        async |world| {
            let mut leaving = Box::pin(world.worker.generate(ask("hello")));
            assert!(!poll_once(&mut leaving).await, "it is being encoded");
            drop(leaving);
            assert_eq!(listen(world.say("another").await).await.text, "x");
            world.is_quiet().await;
            assert_eq!(world.handle.snapshot().submitted_total, 1);
        },
    );
}

#[test]
fn a_client_leaves_before_the_verdict() {
    run(babbles(), async |world| {
        world.fake.hold();
        let mut num_left = 0;
        loop {
            num_left += 1;
            let mut leaving = pin!(world.worker.generate(ask("hello")));
            // Submitted, and not answered, unless the scheduler was very fast.
            if !poll_once(&mut leaving).await {
                break;
            }
        }
        world.fake.release();
        // The scheduler saw the client gone, or took the request and cancelled it.
        assert_eq!(listen(world.say("another").await).await.num_tokens, 512 - 7);
        world.is_quiet().await;
        let now = world.handle.snapshot();
        assert_eq!(now.submitted_total, now.finished_total + now.cancelled_total, "{now:?}");
        assert_eq!((now.finished_total, now.failed_total), (1, 0));
        let outcome = r#"model="bytes",outcome="disconnected""#;
        world.shows(&format!("requests_total{{{outcome}}} {num_left}")).await;
    });
}

#[test]
fn a_client_leaves_the_queue() {
    run_with(
        |options| options.config.rows_max = 1,
        babbles(),
        async |world| {
            world.fake.hold();
            let running = world.say("first").await;
            until("the first to run", || world.handle.snapshot().running == 1).await;
            let queued = world.say("second").await;
            drop(queued);
            until("the cancellation", || world.handle.snapshot().cancelled_total == 1).await;
            assert_eq!(world.handle.snapshot().waiting, 0);
            world.fake.release();
            assert_eq!(listen(running).await.num_tokens, 512 - 5, "its neighbour goes on");
            is_forgotten(world, SECOND, "disconnect", "queued").await;
            assert!(world.fake.steps(0).iter().flatten().all(|named| *named != SECOND));
        },
    );
}

#[test]
fn a_client_leaves_in_prefill() {
    run(babbles(), async |world| {
        world.fake.hold();
        // Four steps of 64 positions; two are launched, and no more until one ends.
        let prefilling = world.say(&"x".repeat(256)).await;
        until("two steps", || world.fake.num_steps() == 2).await;
        drop(prefilling);
        is_forgotten(world, FIRST, "disconnect", "prefill").await;
    });
}

#[test]
fn a_client_leaves_while_decoding() {
    run(babbles(), async |world| {
        world.fake.hold();
        let mut decoding = world.say("hello").await;
        world.fake.allow(3);
        assert!(matches!(next(&mut decoding).await, Some(Delta::Text { .. })));
        until("five steps", || world.fake.num_steps() == 5).await;
        drop(decoding);
        is_forgotten(world, FIRST, "disconnect", "decode").await;
        world.shows(r#"requests_total{model="bytes",outcome="disconnected"} 1"#).await;
    });
}

#[test]
fn half_of_many_leave_and_the_others_hear_what_they_would_alone() {
    let ask = |number: u32| Generate { max_tokens: Some(40), ..ask(&format!("prompt {number}")) };
    run(babbles(), async |world| {
        let mut alone = Vec::new();
        for number in 0..64 {
            alone.push(listen(world.worker.generate(ask(number)).await.unwrap()).await.text);
        }
        world.fake.hold();
        let mut open = Vec::new();
        for number in 0..64 {
            open.push((number, world.worker.generate(ask(number)).await.unwrap()));
        }
        // Eight seats: some decode, and most are queued.
        world.fake.allow(12);
        until("twelve steps", || world.handle.snapshot().tokens_total > 64 * 40 + 8).await;
        open.retain(|(number, _)| number % 2 == 0);
        until("the cancellations", || world.handle.snapshot().cancelled_total == 32).await;
        world.fake.release();
        for (number, survivor) in open {
            assert_eq!(listen(survivor).await.text, alone[number as usize], "{number}");
        }
        world.is_quiet().await;
        let now = world.handle.snapshot();
        assert_eq!((now.finished_total, now.cancelled_total, now.failed_total), (96, 32, 0));
    });
}

#[test]
fn a_client_that_leaves_after_the_end_cancels_nothing() {
    run(says("hi"), async |world| {
        // The end is there, and not taken.
        let untaken = world.say("hello").await;
        world.shows(r#"requests_total{model="bytes",outcome="stop"} 1"#).await;
        drop(untaken);
        // The end is taken.
        let mut taken = world.say("hello").await;
        while !matches!(next(&mut taken).await, Some(Delta::End { .. })) {}
        drop(taken);
        world.is_quiet().await;
        let now = world.handle.snapshot();
        assert_eq!((now.finished_total, now.cancelled_total), (2, 0));
        world.shows(r#"requests_total{model="bytes",outcome="stop"} 2"#).await;
        assert!(!world.handle.telemetry().encode().contains("antiphon_cancellations_total{"));
    });
}

#[test]
fn a_reader_that_stalls_is_cut_off_with_what_it_has() {
    run_with(
        |options| options.config.stall_timeout_ms = 200,
        babbles(),
        async |world| {
            world.fake.hold();
            let stalled = world.say("hello").await;
            world.fake.allow(3);
            until("the stall", || world.handle.snapshot().cancelled_total == 1).await;
            let heard = listen(stalled).await;
            assert_eq!((heard.num_tokens, heard.end), (3, failed(Failure::Stalled)));
            is_forgotten(world, FIRST, "stall", "decode").await;
            world.shows(r#"requests_total{model="bytes",outcome="stalled"} 1"#).await;
        },
    );
}

#[test]
fn a_reader_with_nothing_to_take_has_not_stalled() {
    run_with(
        |options| options.config.stall_timeout_ms = 200,
        babbles(),
        async |world| {
            world.fake.hold();
            let patient = actix_rt::spawn(listen(world.say("hello").await));
            let stalled = world.say("other").await;
            // Both have tokens, and then nothing comes: sweeps pass until the one that does not
            // read is found.
            world.fake.allow(6);
            until("the stall", || world.handle.snapshot().cancelled_total == 1).await;
            assert_eq!(listen(stalled).await.end, failed(Failure::Stalled));
            world.fake.release();
            assert_eq!(patient.await.unwrap().end, end_of_context());
            world.is_quiet().await;
        },
    );
}

#[test]
fn a_worker_that_dies_takes_its_requests_along() {
    run(babbles(), async |world| {
        world.fake.hold();
        let other = actix_rt::Arbiter::new();
        let handle = world.handle.clone();
        other.spawn_fn(move || {
            let generation = handle.worker().generate(ask("hello"));
            actix_rt::spawn(async move { listen(generation.await.unwrap()).await });
        });
        until("it to run", || world.handle.snapshot().running == 1).await;
        other.stop();
        other.join().unwrap();
        until("the cancellation", || world.handle.snapshot().cancelled_total == 1).await;
        world.fake.release();
        assert_eq!(listen(world.say("hello").await).await.end, end_of_context());
        until("quiet", || world.handle.snapshot().in_flight == 0).await;
        assert_eq!(world.handle.snapshot().blocks_used, 0);
    });
}

fn end_of_context() -> Delta {
    end(runtime::FinishReason::Length, 5, 512 - 5)
}
