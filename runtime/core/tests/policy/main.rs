//! The policy at a glance: what each step computes, for whom, and why it stopped growing.
//!
//! Requests are named a, b, c in the order of arrival; unless a script says otherwise, all prompts
//! begin alike. In a row, `5p` is a chunk of five tokens, `1d` one token that the host knows, `1d*`
//! one that it does not know yet; `@8` says that a sequence starts at position 8, having found what
//! is before it. Under a step stands what requests heard before the next was planned, but for their
//! tokens.

mod script;
mod tenants;

use expect_test::expect;
use script::{check, limits};

#[test]
fn chunked_prefill_shares_the_step_with_decodes() {
    check(
        limits().step_tokens(8).depth(1),
        |s| {
            s.submit(3, 3);
            s.submit(12, 2);
            s.run();
        },
        &expect![[r#"
            step 1   a:3p b:5p                      stop=tokens
            step 2   a:1d b:7p                      stop=tokens
            step 3   a:1d b:1d                      stop=empty
                     a Finished(Length)
                     b Finished(Length)
        "#]],
    );
}

#[test]
fn waiting_prompts_share_a_step_oldest_first() {
    check(
        limits().step_tokens(10).depth(1),
        |s| {
            s.submit(4, 1);
            s.submit(4, 1);
            s.submit(4, 1);
            s.run();
        },
        &expect![[r#"
            step 1   a:4p b:4p c:2p                 stop=tokens
                     a Finished(Length)
                     b Finished(Length)
            step 2   c:2p                           stop=empty
                     c Finished(Length)
        "#]],
    );
}

#[test]
fn two_steps_are_in_flight_and_a_stop_costs_one_row() {
    check(
        limits(),
        |s| {
            s.submit_stopping(3, 9, 2);
            s.submit(3, 4);
            s.run();
        },
        &expect![[r#"
            step 1   a:3p b:3p                      stop=empty
            step 2   a:1d* b:1d*                    stop=empty
            step 3   a:1d* b:1d*                    stop=empty
            step 4   a:1d* b:1d*                    stop=empty
                     a Finished(StopToken(t999))
                     b Finished(Length)
        "#]],
    );
}

#[test]
fn nothing_is_planned_for_an_output_known_to_be_complete() {
    check(
        limits().depth(3),
        |s| {
            s.submit(3, 2);
            s.plan();
            s.complete();
            s.complete();
        },
        &expect![[r#"
            step 1   a:3p                           stop=empty
            step 2   a:1d*                          stop=empty
                     a Finished(Length)
        "#]],
    );
}

#[test]
fn a_prefix_is_found_once_its_step_has_ended_and_one_token_is_left_to_compute() {
    check(
        limits().prefix_cache(),
        |s| {
            s.submit(8, 1);
            s.plan();
            s.submit(8, 1);
            s.plan();
            s.complete();
            s.submit(8, 1);
            s.submit(11, 1);
            s.run();
            s.blocks();
        },
        &expect![[r#"
            step 1   a:8p                           stop=empty
            step 2   b:8p                           stop=empty
                     a Finished(Length)
            step 3   c:4p@4 d:3p@8                  stop=empty
                     b Finished(Length)
                     c had 4 tokens cached
                     c Finished(Length)
                     d had 8 tokens cached
                     d Finished(Length)
            blocks used=0 cached=2
        "#]],
    );
}

#[test]
fn the_least_recently_used_prefix_is_evicted_first_and_from_its_end() {
    check(
        limits().prefix_cache().blocks(5),
        |s| {
            s.submit_of(0, 8, 1);
            s.run();
            s.submit_of(1, 8, 1);
            s.run();
            s.blocks();
            s.submit_of(0, 9, 1);
            s.run();
            s.submit_of(2, 8, 1);
            s.run();
            s.blocks();
            s.submit_of(1, 9, 1);
            s.submit_of(0, 9, 1);
            s.run();
        },
        &expect![[r#"
            step 1   a:8p                           stop=empty
                     a Finished(Length)
            step 2   b:8p                           stop=empty
                     b Finished(Length)
            blocks used=0 cached=4
            step 3   c:1p@8                         stop=empty
                     c had 8 tokens cached
                     c Finished(Length)
            step 4   d:8p                           stop=empty
                     d Finished(Length)
            blocks used=0 cached=5
            step 5   e:5p@4                         stop=blocks
                     e had 4 tokens cached
                     e Finished(Length)
            step 6   f:9p                           stop=empty
                     f Finished(Length)
        "#]],
    );
}

#[test]
fn the_youngest_makes_room_and_resumes_at_the_head() {
    check(
        limits().blocks(4).depth(1),
        |s| {
            s.submit(4, 9);
            s.submit(4, 9);
            s.submit(4, 1);
            s.run();
            s.blocks();
        },
        &expect![[r#"
            step 1   a:4p b:4p                      stop=blocks
            step 2   a:1d b:1d                      stop=blocks
            step 3   a:1d b:1d                      stop=blocks
            step 4   a:1d b:1d                      stop=blocks
            step 5   a:1d b:1d                      stop=blocks
                     4 of 4 blocks used: preempts 1
            step 6   a:1d                           stop=blocks
            step 7   a:1d                           stop=blocks
            step 8   a:1d                           stop=blocks
            step 9   a:1d                           stop=blocks
                     a Finished(Length)
            step 10  b:9p                           stop=blocks
            step 11  b:1d                           stop=blocks
            step 12  b:1d                           stop=blocks
            step 13  b:1d c:4p                      stop=empty
                     b Finished(Length)
                     c Finished(Length)
            blocks used=0 cached=0
        "#]],
    );
}

#[test]
fn in_flight_the_youngest_is_only_marked_and_its_blocks_come_home_later() {
    check(
        limits().blocks(5).prefix_cache(),
        |s| {
            s.submit(4, 9);
            s.submit(5, 8);
            s.submit(4, 1);
            s.run();
            s.blocks();
        },
        &expect![[r#"
            step 1   a:4p b:5p                      stop=blocks
            step 2   a:1d* b:1d*                    stop=blocks
            step 3   a:1d* b:1d*                    stop=blocks
            step 4   a:1d* b:1d*                    stop=blocks
            step 5   a:1d* b:1d*                    stop=blocks
                     5 of 5 blocks used: preempts 1
            step 6   a:1d                           stop=blocks
            step 7   a:1d*                          stop=blocks
            step 8   a:1d*                          stop=blocks
            step 9   a:1d* b:2p@8                   stop=blocks
            step 10  b:1d*                          stop=blocks
                     a Finished(Length)
            step 11  b:1d* c:4p                     stop=empty
                     b Finished(Length)
                     c Finished(Length)
            blocks used=0 cached=4
        "#]],
    );
}

#[test]
fn a_prompt_waits_for_room_for_all_of_it_and_nobody_overtakes() {
    check(
        limits().blocks(6),
        |s| {
            s.submit(12, 3);
            s.submit(12, 1);
            s.submit(2, 1);
            s.run();
        },
        &expect![[r#"
            step 1   a:12p                          stop=blocks
            step 2   a:1d*                          stop=blocks
            step 3   a:1d*                          stop=blocks
                     a Finished(Length)
            step 4   b:12p c:2p                     stop=empty
                     b Finished(Length)
                     c Finished(Length)
        "#]],
    );
}

#[test]
fn a_sequence_alone_may_fill_the_pool_and_ends_there() {
    check(
        limits().blocks(2),
        |s| {
            s.submit(6, 60);
            s.submit(9, 1);
            s.run();
        },
        &expect![[r#"
            b refused: the prompt has 9 tokens, and the whole key-value cache holds 8
            step 1   a:6p                           stop=empty
            step 2   a:1d*                          stop=empty
            step 3   a:1d*                          stop=empty
                     a Finished(Length)
        "#]],
    );
}

#[test]
fn a_cancelled_sequence_keeps_its_blocks_until_its_steps_have_ended() {
    check(
        limits(),
        |s| {
            s.submit(6, 9);
            s.submit(3, 3);
            s.plan();
            s.cancel('a');
            s.blocks();
            s.complete();
            s.plan();
            s.blocks();
            s.complete();
            s.blocks();
            s.run();
            s.blocks();
        },
        &expect![[r#"
            step 1   a:6p b:3p                      stop=empty
            step 2   a:1d* b:1d*                    stop=empty
            cancel a
                     a Cancelled(Disconnect)
            blocks used=3 cached=0
            step 3   b:1d*                          stop=empty
            blocks used=4 cached=0
            blocks used=2 cached=0
                     b Finished(Length)
            blocks used=0 cached=0
        "#]],
    );
}

#[test]
fn seats_bound_those_running_and_the_queue_those_waiting() {
    check(
        limits().rows(2).waiting(3).depth(1),
        |s| {
            s.submit(3, 2);
            s.submit(3, 2);
            s.submit(3, 2);
            s.submit(3, 2);
            s.submit(64, 2);
            s.run();
        },
        &expect![[r#"
            d refused: the server's queue is full: 3 requests are waiting, and 3 may
            e refused: the prompt has 64 tokens, and the model's context of 64 must hold at least one more
            step 1   a:3p b:3p                      stop=rows
            step 2   a:1d b:1d                      stop=rows
                     a Finished(Length)
                     b Finished(Length)
            step 3   c:3p                           stop=empty
            step 4   c:1d                           stop=empty
                     c Finished(Length)
        "#]],
    );
}

#[test]
fn a_drain_finishes_what_waits_and_cancels_it_at_the_deadline() {
    check(
        limits().rows(1).depth(1),
        |s| {
            s.submit(3, 1);
            s.submit(3, 60);
            s.drain(500);
            s.submit(3, 1);
            s.plan();
            s.complete();
            s.plan();
            s.tick(499);
            s.tick(500);
            s.plan();
            s.complete();
            s.tick(501);
        },
        &expect![[r#"
            drain by 500
            c refused: the server is shutting down
            step 1   a:3p                           stop=rows
                     a Finished(Length)
            step 2   b:3p                           stop=empty
            tick 499: error=None next=Some(500)
            tick 500: error=None next=Some(1000)
                     b Cancelled(Drain)
            tick 501: error=None next=None
        "#]],
    );
}

#[test]
fn a_step_that_takes_too_long_is_answered_with_an_error() {
    check(
        limits(),
        |s| {
            s.submit(3, 60);
            s.plan();
            s.tick(600);
            s.complete();
            s.plan();
            s.tick(1_599);
            s.tick(1_600);
            s.fail();
            s.blocks();
            s.submit(3, 1);
            s.run();
        },
        &expect![[r#"
            step 1   a:3p                           stop=empty
            step 2   a:1d*                          stop=empty
            tick 600: error=None next=Some(1000)
            step 3   a:1d*                          stop=empty
            tick 1599: error=None next=Some(1600)
            tick 1600: error=Some(TimedOut) next=Some(1600)
            engine fails
                     a EngineFailed
            blocks used=0 cached=0
            step 4   b:3p                           stop=empty
                     b Finished(Length)
        "#]],
    );
}

#[test]
fn a_chunk_is_cut_to_what_running_streams_have_time_for() {
    check(
        limits().step_tokens(32).depth(1).itl_target_us(30),
        |s| {
            s.submit(2, 6);
            s.complete_in(4);
            s.complete_in(2);
            s.submit(60, 1);
            s.complete_in(2);
            s.complete_in(30);
            s.run();
        },
        &expect![[r#"
            step 1   a:2p                           stop=empty
            step 2   a:1d                           stop=empty
            step 3   a:1d b:12p                     stop=latency
            step 4   a:1d b:31p                     stop=tokens
            step 5   a:1d b:17p                     stop=empty
                     b Finished(Length)
            step 6   a:1d                           stop=empty
                     a Finished(Length)
        "#]],
    );
}

#[test]
fn where_no_chunk_fits_steps_of_decodes_alone_come_before_one() {
    check(
        limits().step_tokens(32).depth(1).itl_target_us(22),
        |s| {
            s.submit(1, 20);
            s.submit(40, 2);
            s.complete_in(40);
            for _ in 0..12 {
                s.complete_in(20);
            }
        },
        &expect![[r#"
            step 1   a:1p b:31p                     stop=tokens
            step 2   a:1d                           stop=latency
            step 3   a:1d                           stop=latency
            step 4   a:1d                           stop=latency
            step 5   a:1d                           stop=latency
            step 6   a:1d                           stop=latency
            step 7   a:1d                           stop=latency
            step 8   a:1d                           stop=latency
            step 9   a:1d                           stop=latency
            step 10  a:1d b:1p                      stop=latency
            step 11  a:1d                           stop=latency
            step 12  a:1d                           stop=latency
            step 13  a:1d                           stop=latency
        "#]],
    );
}
