//! The policy between tenants, and inside one, at a glance.

use expect_test::expect;
use runtime_core::{Priority, Tenant, TenantError, TenantId, Tenants, Terms, Tick};

use crate::script::{check, limits};

const fn tenant(id: u32) -> Tenant {
    Tenant::unbounded(TenantId(id))
}

fn of_priority(priority: u8) -> Terms {
    Terms { priority: Priority(priority), ..Terms::default() }
}

#[test]
fn whoever_had_less_is_admitted_first_and_by_weight() {
    check(
        limits().rows(1).depth(1),
        |s| {
            s.list(&[Tenant { weight: 2, ..tenant(0) }, tenant(1)]);
            for _ in 0..4 {
                s.submit_of_tenant(0, 4, 1);
            }
            for _ in 0..3 {
                s.submit_of_tenant(1, 4, 1);
            }
            s.run();
            s.tenants();
        },
        &expect![[r#"
            step 1   a:4p                           stop=rows
                     a Finished(Length)
            step 2   e:4p                           stop=rows
                     e Finished(Length)
            step 3   b:4p                           stop=rows
                     b Finished(Length)
            step 4   f:4p                           stop=rows
                     f Finished(Length)
            step 5   c:4p                           stop=rows
                     c Finished(Length)
            step 6   d:4p                           stop=rows
                     d Finished(Length)
            step 7   g:4p                           stop=empty
                     g Finished(Length)
            tenant 0: waiting 0, seats 0, counter 12
            tenant 1: waiting 0, seats 0, counter 18
        "#]],
    );
}

#[test]
fn a_prompt_in_chunks_lets_another_tenants_prompt_pass() {
    check(
        limits().step_tokens(8).depth(1),
        |s| {
            s.list(&[tenant(0), tenant(1)]);
            s.submit_of_tenant(0, 40, 1);
            s.plan();
            s.submit_of_tenant(1, 4, 2);
            s.complete();
            s.run();
        },
        &expect![[r#"
            step 1   a:8p                           stop=tokens
            step 2   b:4p a:4p                      stop=tokens
            step 3   b:1d a:7p                      stop=tokens
                     b Finished(Length)
            step 4   a:8p                           stop=tokens
            step 5   a:8p                           stop=tokens
            step 6   a:5p                           stop=empty
                     a Finished(Length)
        "#]],
    );
}

#[test]
fn who_comes_back_from_idle_is_owed_nothing() {
    check(
        limits().rows(1).depth(1),
        |s| {
            s.list(&[tenant(0), tenant(1)]);
            s.submit_of_tenant(0, 20, 8);
            s.run();
            for _ in 0..2 {
                s.submit_of_tenant(0, 4, 1);
                s.submit_of_tenant(1, 4, 1);
            }
            s.tenants();
            s.run();
        },
        &expect![[r#"
            step 1   a:20p                          stop=empty
            step 2   a:1d                           stop=empty
            step 3   a:1d                           stop=empty
            step 4   a:1d                           stop=empty
            step 5   a:1d                           stop=empty
            step 6   a:1d                           stop=empty
            step 7   a:1d                           stop=empty
            step 8   a:1d                           stop=empty
                     a Finished(Length)
            tenant 0: waiting 2, seats 0, counter 36
            tenant 1: waiting 2, seats 0, counter 36
            step 9   c:4p                           stop=rows
                     c Finished(Length)
            step 10  b:4p                           stop=rows
                     b Finished(Length)
            step 11  e:4p                           stop=rows
                     e Finished(Length)
            step 12  d:4p                           stop=empty
                     d Finished(Length)
        "#]],
    );
}

#[test]
fn a_tenant_with_less_than_its_part_of_the_seats_gets_one_from_who_has_more() {
    check(
        limits().rows(2),
        |s| {
            s.list(&[tenant(0), tenant(1)]);
            s.submit_of_tenant(0, 3, 9);
            s.submit_of_tenant(0, 3, 9);
            s.submit_of_tenant(0, 3, 1);
            s.plan();
            s.complete();
            s.plan();
            s.submit_of_tenant(1, 3, 2);
            s.complete();
            s.run();
        },
        &expect![[r#"
            step 1   a:3p b:3p                      stop=rows
            step 2   a:1d* b:1d*                    stop=rows
            step 3   a:1d* b:1d*                    stop=rows
                     4 of 64 blocks used: preempts 1
            step 4   a:1d* b:1d*                    stop=rows
            step 5   a:1d*                          stop=rows
            step 6   a:1d* d:3p                     stop=rows
            step 7   a:1d* d:1d*                    stop=rows
            step 8   a:1d*                          stop=rows
                     d Finished(Length)
            step 9   a:1d* b:7p                     stop=rows
            step 10  b:1d*                          stop=rows
                     a Finished(Length)
            step 11  b:1d* c:3p                     stop=empty
            step 12  b:1d*                          stop=empty
                     c Finished(Length)
            step 13  b:1d*                          stop=empty
                     b Finished(Length)
        "#]],
    );
}

#[test]
fn the_most_served_tenant_makes_room() {
    check(
        limits().blocks(6).depth(1),
        |s| {
            s.list(&[tenant(0), tenant(1)]);
            s.submit_of_tenant(1, 4, 12);
            s.submit_of_tenant(0, 8, 9);
            s.submit_of_tenant(1, 4, 9);
            s.run();
        },
        &expect![[r#"
            step 1   b:8p a:4p c:4p                 stop=empty
            step 2   b:1d a:1d                      stop=blocks
            step 3   b:1d a:1d                      stop=blocks
            step 4   b:1d a:1d                      stop=blocks
            step 5   b:1d a:1d                      stop=blocks
                     6 of 6 blocks used: preempts 1
            step 6   b:1d                           stop=blocks
            step 7   b:1d                           stop=blocks
            step 8   b:1d                           stop=blocks
            step 9   b:1d                           stop=blocks
                     b Finished(Length)
            step 10  a:1d c:5p                      stop=empty
            step 11  a:1d c:1d                      stop=empty
            step 12  a:1d c:1d                      stop=empty
            step 13  a:1d c:1d                      stop=empty
            step 14  a:1d                           stop=blocks
            step 15  a:1d                           stop=blocks
            step 16  a:1d                           stop=blocks
                     a Finished(Length)
            step 17  c:1d                           stop=empty
            step 18  c:1d                           stop=empty
            step 19  c:1d                           stop=empty
            step 20  c:1d                           stop=empty
                     c Finished(Length)
        "#]],
    );
}

#[test]
fn a_more_urgent_request_is_in_front_of_what_came_a_little_earlier() {
    check(
        limits().rows(1).depth(1),
        |s| {
            s.list(&[Tenant { priority_max: Priority(1), ..tenant(0) }]);
            s.submit_on(of_priority(0), 3, 1);
            s.plan();
            s.submit_on(of_priority(0), 3, 1);
            s.wait_until(900);
            s.submit_on(of_priority(1), 3, 1);
            // Higher than its tenant may, and later by more than a step of priority is worth.
            s.wait_until(1_001);
            s.submit_on(of_priority(200), 3, 1);
            s.complete();
            s.run();
        },
        &expect![[r#"
            step 1   a:3p                           stop=empty
                     a Finished(Length)
            step 2   c:3p                           stop=rows
                     c Finished(Length)
            step 3   b:3p                           stop=rows
                     b Finished(Length)
            step 4   d:3p                           stop=empty
                     d Finished(Length)
        "#]],
    );
}

#[test]
fn who_is_at_a_bound_of_its_own_is_passed_and_nobody_else_waits_for_it() {
    check(
        limits().blocks(8).depth(1),
        |s| {
            s.list(&[
                Tenant { running_max: 1, ..tenant(0) },
                // Two of eight blocks of four.
                Tenant { kv_per_mille: 250, ..tenant(1) },
                tenant(2),
            ]);
            s.submit_of_tenant(0, 3, 2);
            s.submit_of_tenant(0, 3, 1);
            s.submit_of_tenant(1, 3, 2);
            s.submit_of_tenant(1, 5, 1);
            s.submit_of_tenant(1, 9, 1);
            s.submit_of_tenant(2, 3, 1);
            s.plan();
            s.tenants();
            s.complete();
            s.run();
        },
        &expect![[r#"
            e refused: the prompt has 9 tokens, and this tenant's share of the key-value cache holds 8
            step 1   a:3p c:3p f:3p                 stop=tenant
            tenant 0: waiting 1, seats 1, counter 5, held back
            tenant 1: waiting 1, seats 1, counter 5, held back
            tenant 2: waiting 0, seats 1, counter 5
                     f Finished(Length)
            step 2   a:1d c:1d                      stop=tenant
                     a Finished(Length)
                     c Finished(Length)
            step 3   b:3p d:5p                      stop=empty
                     b Finished(Length)
                     d Finished(Length)
        "#]],
    );
}

#[test]
fn a_refusal_says_whose_bound_it_is_and_when_to_come_back() {
    check(
        limits().rows(1).depth(1).waiting(3),
        |s| {
            s.list(&[
                Tenant { waiting_max: 1, ..tenant(0) },
                Tenant { waiting_tokens_max: 9, ..tenant(1) },
            ]);
            s.submit_of_tenant(0, 3, 1);
            s.submit_of_tenant(0, 3, 1);
            s.submit_of_tenant(1, 20, 1);
            s.submit_of_tenant(1, 3, 1);
            s.plan();
            s.wait_until(600);
            s.submit_of_tenant(0, 3, 1);
            s.submit_of_tenant(0, 3, 1);
            s.submit_of_tenant(7, 3, 1);
            s.complete();
            s.run();
        },
        &expect![[r#"
            b refused: this tenant's queue is full: 1 of its requests are waiting, and 1 may
            d refused: this tenant's queue is full: 1 of its requests are waiting, and 9 prompt tokens may
            step 1   a:3p                           stop=rows
            f refused: this tenant's queue is full: 1 of its requests are waiting, and 1 may (again in 600)
            g refused: there is no tenant 7
                     a Finished(Length)
            step 2   c:20p                          stop=rows
                     c Finished(Length)
            step 3   e:3p                           stop=empty
                     e Finished(Length)
        "#]],
    );
}

#[test]
fn a_deadline_ends_what_waits_and_what_runs_each_in_its_own_way() {
    check(
        limits().rows(1).depth(1),
        |s| {
            let until = |time| Some(Tick(time));
            s.submit_on(Terms { deadline: until(300), ..Terms::default() }, 3, 9);
            s.submit_on(Terms { queue_deadline: until(200), ..Terms::default() }, 3, 1);
            s.submit_on(Terms { queue_deadline: until(400), ..Terms::default() }, 3, 2);
            s.plan();
            s.complete();
            s.plan();
            s.tick(199);
            s.tick(200);
            s.submit_on(Terms { deadline: until(200), ..Terms::default() }, 3, 1);
            // Nothing strikes: the next plan sees to it by itself.
            s.wait_until(300);
            s.complete();
            s.plan();
            s.tick(500);
            s.complete();
            s.run();
        },
        &expect![[r#"
            step 1   a:3p                           stop=rows
            step 2   a:1d                           stop=rows
            tick 199: error=None next=Some(200)
            tick 200: error=None next=Some(300)
                     b DeadlinePassed(Queue)
            d refused: the deadline of the request has passed
            step 3   c:3p                           stop=empty
            tick 500: error=None next=Some(1300)
                     a DeadlinePassed(Whole)
            step 4   c:1d                           stop=empty
                     c Finished(Length)
        "#]],
    );
}

#[test]
fn another_table_loses_nobody() {
    check(
        limits().rows(2).depth(1),
        |s| {
            s.list(&[tenant(0), tenant(1)]);
            s.submit_of_tenant(1, 3, 3);
            s.submit_of_tenant(1, 3, 1);
            s.submit_of_tenant(0, 3, 2);
            s.plan();
            s.list(&[Tenant { running_max: 1, weight: 2, ..tenant(0) }]);
            s.tenants();
            s.submit_of_tenant(1, 3, 1);
            s.submit_of_tenant(0, 3, 1);
            s.complete();
            s.run();
            s.tenants();
        },
        &expect![[r#"
            step 1   c:3p a:3p                      stop=rows
            tenant 0: waiting 0, seats 1, counter 5
            tenant 1: waiting 1, seats 1, counter 5
            d refused: there is no tenant 1
            step 2   c:1d a:1d                      stop=rows
                     c Finished(Length)
            step 3   a:1d e:3p                      stop=rows
                     a Finished(Length)
                     e Finished(Length)
            step 4   b:3p                           stop=empty
                     b Finished(Length)
            tenant 0: waiting 0, seats 0, counter 11
        "#]],
    );
}

#[test]
fn a_wrong_table_says_what_is_wrong() {
    let wrong = |table: &[Tenant]| Tenants::new(table.iter().copied()).unwrap_err().to_string();
    assert_eq!(wrong(&[]), "there must be at least one tenant");
    assert_eq!(wrong(&[tenant(3), tenant(1), tenant(3)]), "tenant 3 is there twice");
    let twins = Tenants::new([tenant(3), tenant(3)]);
    assert_eq!(twins, Err(TenantError::Duplicate(TenantId(3))));
    let of = |change: fn(&mut Tenant)| {
        let mut wrong_one = tenant(2);
        change(&mut wrong_one);
        wrong(&[tenant(0), wrong_one])
    };
    assert_eq!(of(|t| t.weight = 0), "weight of tenant 2 is 0, and must be from 1 to 1000000");
    assert_eq!(of(|t| t.running_max = 0), "running_max of tenant 2 is 0, and must be at least 1");
    assert_eq!(of(|t| t.waiting_max = 0), "waiting_max of tenant 2 is 0, and must be at least 1");
    assert_eq!(
        of(|t| t.waiting_tokens_max = 0),
        "waiting_tokens_max of tenant 2 is 0, and must be at least 1"
    );
    assert_eq!(
        of(|t| t.kv_per_mille = 1_001),
        "kv_per_mille of tenant 2 is 1001, and must be from 1 to 1000"
    );
}
