//! Engines that cannot be built, that break, that hang, and a scheduler that panics.

use std::process::Command;

use runtime::{Config, Failure, FailurePolicy, Refused, Status};
use tests::fake::{Fake, Fault, babbles, says};

use crate::world::{World, ask, failed, listen, run, run_with, until};

/// Set for the child process of a test that ends its process.
const CHILD: &str = "ANTIPHON_TEST_CHILD";

#[test]
fn an_engine_that_breaks_is_built_again_and_everybody_is_told() {
    for fault in [Fault::LaunchFails, Fault::LaunchPanics, Fault::WaitFails, Fault::WaitPanics] {
        run_with(
            |options| options.config.rows_max = 1,
            says("fine"),
            async |world| {
                world.fake.hold();
                let running = world.say("first").await;
                let queued = world.say("second").await;
                until("two steps", || world.fake.num_steps() == 2).await;
                world.fake.fault(0, fault);
                // The two in flight, and the one that breaks.
                world.fake.allow(3);
                for open in [running, queued] {
                    assert_eq!(listen(open).await.end, failed(Failure::Engine), "{fault:?}");
                }
                until("another engine", || world.fake.num_built() == 2).await;
                world.reaches(Status::Serving).await;
                assert!(world.handle.failure().is_some());
                world.fake.release();
                assert_eq!(listen(world.say("third").await).await.text, "fine");
                world.is_quiet().await;
                world.shows(r#"engine_restarts_total{model="bytes"} 1"#).await;
                world.shows(r#"requests_total{model="bytes",outcome="engine_failed"} 2"#).await;
            },
        );
    }
}

#[test]
fn an_engine_that_hangs_is_left_alone_and_its_late_answer_is_not_heard() {
    run_with(
        |options| options.config.step_timeout_ms = 1_000,
        babbles(),
        async |world| {
            world.fake.hold();
            let open = world.say("first").await;
            assert_eq!(listen(open).await.end, failed(Failure::Engine));
            until("another engine", || world.fake.num_built() == 2).await;
            // Until it is told, the status is that of before.
            until("the failure", || world.handle.failure().is_some()).await;
            assert_eq!(world.handle.failure().as_deref(), Some("step exceeded its time limit"));
            world.reaches(Status::Serving).await;
            // The steps that hung end now, beside the new engine's.
            world.fake.release();
            let heard = listen(world.say("second").await).await;
            assert_eq!(heard.num_tokens, 512 - 6);
            world.is_quiet().await;
        },
    );
}

#[test]
fn an_engine_that_hangs_and_holds_its_device_ends_the_runtime() {
    run_with(
        |options| {
            options.config.step_timeout_ms = 50;
            options.info.can_be_abandoned = false;
        },
        babbles(),
        async |world| {
            world.fake.hold();
            assert_eq!(listen(world.say("x").await).await.end, failed(Failure::Engine));
            world.reaches(Status::Stopped).await;
            assert_eq!((world.fake.num_built(), world.handle.exit_code()), (1, Some(70)));
            assert_eq!(world.handle.failure().as_deref(), Some("step exceeded its time limit"));
        },
    );
}

#[test]
fn engines_that_hang_again_and_again_end_the_runtime() {
    run_with(
        |options| options.config.step_timeout_ms = 50,
        babbles(),
        async |world| {
            world.fake.hold();
            for num_restarts in 0..3 {
                let line = format!("engine_restarts_total{{model=\"bytes\"}} {num_restarts}");
                world.shows(&line).await;
                world.reaches(Status::Serving).await;
                assert_eq!(listen(world.say("x").await).await.end, failed(Failure::Engine));
            }
            world.reaches(Status::Stopped).await;
            assert_eq!((world.fake.num_built(), world.handle.exit_code()), (3, Some(70)));
        },
    );
}

#[test]
fn an_engine_whose_failure_is_final_ends_the_runtime_once_everybody_is_told() {
    let exit = |options: &mut crate::world::Options| options.config.failure = FailurePolicy::Exit;
    run_with(exit, babbles(), async |world| {
        world.fake.hold();
        let open = world.say("first").await;
        until("two steps", || world.fake.num_steps() == 2).await;
        world.fake.fault(0, Fault::WaitFails);
        world.fake.allow(3);
        world.reaches(Status::Failed).await;
        assert_eq!(world.worker.generate(ask("x")).await.err(), Some(Refused::Unavailable));
        assert_eq!(listen(open).await.end, failed(Failure::Engine));
        world.reaches(Status::Stopped).await;
        assert_eq!(world.handle.exit_code(), Some(70));
        assert_eq!(world.handle.failure().as_deref(), Some("device error: no result"));
        assert_eq!(world.fake.num_built(), 1);
    });
}

#[test]
fn a_device_that_is_lost_ends_the_runtime_whatever_the_policy() {
    run_with(
        |options| options.config.rows_max = 1,
        babbles(),
        async |world| {
            world.fake.hold();
            let running = world.say("first").await;
            let queued = world.say("second").await;
            until("two steps", || world.fake.num_steps() == 2).await;
            world.fake.fault(0, Fault::WaitLoses);
            world.fake.allow(3);
            for open in [running, queued] {
                assert_eq!(listen(open).await.end, failed(Failure::Engine));
            }
            world.reaches(Status::Stopped).await;
            assert_eq!((world.fake.num_built(), world.handle.exit_code()), (1, Some(70)));
            let failure = "the device is lost to this process: an illegal address";
            assert_eq!(world.handle.failure().as_deref(), Some(failure));
            assert_eq!(world.worker.generate(ask("x")).await.err(), Some(Refused::Unavailable));
            world.shows("streams_open{model=\"bytes\"} 0").await;
        },
    );
}

#[test]
fn an_engine_that_cannot_be_built_again_ends_the_runtime() {
    run(babbles(), async |world| {
        world.fake.fail_build("no memory left");
        world.fake.fault(0, Fault::LaunchFails);
        assert_eq!(listen(world.say("x").await).await.end, failed(Failure::Engine));
        world.reaches(Status::Stopped).await;
        assert_eq!(world.handle.exit_code(), Some(70));
        assert_eq!(world.handle.failure().as_deref(), Some("no memory left"));
    });
}

#[test]
fn an_engine_that_never_comes_up_is_told_as_such() {
    actix_rt::System::new().block_on(async {
        let fake = Fake::new(says("x"));
        fake.fail_build("the file is truncated");
        let world = World::start(Config::default(), fake);
        assert_eq!(world.worker.generate(ask("x")).await.err(), Some(Refused::Unavailable));
        assert_eq!(world.handle.engine_info(), None);
        world.reaches(Status::Stopped).await;
        assert_eq!(world.handle.exit_code(), Some(1));
        assert_eq!(world.handle.failure().as_deref(), Some("the file is truncated"));
        assert_eq!(world.worker.generate(ask("x")).await.err(), Some(Refused::Unavailable));
    });
}

#[test]
fn a_scheduler_that_panics_ends_the_process() {
    if std::env::var_os(CHILD).is_some() {
        run(babbles(), async |world| {
            // The core asserts that steps are answered in order.
            world.fake.fault(1, Fault::AnswersAnother);
            let generation = world.say("x").await;
            listen(generation).await;
            unreachable!("the process ends first");
        });
    }
    let test = "failure::a_scheduler_that_panics_ends_the_process";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().unwrap();
    assert_eq!(output.status.code(), Some(71), "{}", String::from_utf8_lossy(&output.stderr));
}
