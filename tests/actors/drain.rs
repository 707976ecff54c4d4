//! The end: what is open is finished, or told that it is not.

use runtime::{Config, Failure, FinishReason, Refused, Status};
use runtime_core::Rejected;
use tests::fake::{Fake, Fault, babbles, says};

use crate::world::{World, ask, end, failed, listen, run, run_with, until};

#[test]
fn a_drain_finishes_what_runs_and_what_waits_and_takes_nothing_new() {
    run_with(
        |options| options.config.rows_max = 1,
        says("fine"),
        async |world| {
            world.fake.hold();
            let running = world.say("first").await;
            let queued = world.say("second").await;
            world.handle.drain();
            world.handle.drain();
            world.reaches(Status::Draining).await;
            let refused = world.worker.generate(ask("third")).await.err();
            assert_eq!(refused, Some(Rejected::Draining.into()));
            world.fake.release();
            assert_eq!(listen(running).await.end, end(FinishReason::Stop, 5, 5));
            assert_eq!(listen(queued).await.end, end(FinishReason::Stop, 6, 5));
            world.reaches(Status::Stopped).await;
            assert_eq!(world.handle.exit_code(), Some(0));
            let refused = world.worker.generate(ask("fourth")).await.err();
            assert_eq!(refused, Some(Refused::Unavailable));
            world.is_quiet().await;
        },
    );
}

#[test]
fn what_is_open_at_the_deadline_is_told() {
    run_with(
        |options| options.config.drain_timeout_ms = 20,
        babbles(),
        async |world| {
            world.fake.hold();
            let open = world.say("first").await;
            until("two steps", || world.fake.num_steps() == 2).await;
            world.handle.drain();
            assert_eq!(listen(open).await.end, failed(Failure::Draining));
            world
                .shows(r#"cancellations_total{model="bytes",cause="drain",phase="prefill"} 1"#)
                .await;
            world.shows(r#"requests_total{model="bytes",outcome="drained"} 1"#).await;
            assert_eq!(world.handle.status(), Status::Draining, "its steps are still in flight");
            world.fake.release();
            world.reaches(Status::Stopped).await;
            assert_eq!(world.handle.exit_code(), Some(0));
        },
    );
}

#[test]
fn a_runtime_that_is_told_to_stop_now_does_not_wait_for_its_engine() {
    run(babbles(), async |world| {
        world.fake.hold();
        let open = world.say("first").await;
        world.handle.drain();
        world.handle.stop_now();
        assert_eq!(listen(open).await.end, failed(Failure::Draining));
        world.reaches(Status::Stopped).await;
        assert_eq!(world.handle.exit_code(), Some(0));
    });
}

#[test]
fn an_engine_that_breaks_in_a_drain_is_not_built_again() {
    run(babbles(), async |world| {
        world.fake.hold();
        let open = world.say("first").await;
        until("two steps", || world.fake.num_steps() == 2).await;
        world.handle.drain();
        world.reaches(Status::Draining).await;
        world.fake.fault(0, Fault::LaunchFails);
        world.fake.release();
        assert_eq!(listen(open).await.end, failed(Failure::Engine));
        world.reaches(Status::Stopped).await;
        assert_eq!((world.fake.num_built(), world.handle.exit_code()), (1, Some(0)));
    });
}

#[test]
fn a_runtime_stops_while_nothing_was_ever_asked_of_it() {
    actix_rt::System::new().block_on(async {
        let world = World::start(Config::default(), Fake::new(says("x")));
        world.handle.drain();
        world.reaches(Status::Stopped).await;
        assert_eq!(world.handle.exit_code(), Some(0));
    });
}
