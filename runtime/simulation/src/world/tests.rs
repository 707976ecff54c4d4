use runtime_core::{Costs, Pricing};

use super::*;

fn setting(order: Order) -> Setting {
    let limits = Limits {
        block_size: 16,
        num_blocks: 4_000,
        context: 4_096,
        rows_max: 16,
        step_tokens_max: 512,
        pipeline_depth: 2,
        waiting_max: 400,
        waiting_tokens_max: u64::MAX,
        step_timeout_us: u64::MAX,
        prefix_cache: PrefixCache::On,
        costs: Costs::default(),
        pricing: Pricing::Measured,
        itl_target_us: 50_000,
        ageing_us: 1_000_000,
    };
    let slo = Slo { ttft_us: 1_000_000, itl_us: 100_000 };
    Setting { limits, costs: CostModel::h100(), order, slo, tenants: BTreeMap::new() }
}

const FLOOD: &str = "duration_s = 20\n\
    [[stream]]\ntenant = 'loud'\narrivals = { kind = 'burst', count = 100 }\n\
    prompt = { kind = 'fixed', tokens = 2000 }\noutput = { kind = 'fixed', tokens = 50 }\n\
    [[stream]]\ntenant = 'quiet'\narrivals = { kind = 'even', rate = 1.0 }\n\
    prompt = { kind = 'fixed', tokens = 50 }\noutput = { kind = 'fixed', tokens = 20 }\n";

fn ttft_p99(report: &Report, name: &str) -> f64 {
    let tenant = report.tenants.iter().find(|tenant| tenant.name == name).unwrap();
    tenant.ttft_ms.unwrap().p99
}

#[test]
fn a_trace_gives_the_same_report_every_time() {
    let trace = Trace::read(FLOOD).unwrap();
    let report = run(&trace, &setting(Order::Fair));
    assert_eq!(report, run(&trace, &setting(Order::Fair)));
    assert_eq!((report.requests, report.finished), (119, 119));
    assert_eq!(report.output_tokens, 100 * 50 + 19 * 20);
    assert!(report.rejections.is_empty() && report.busy_share <= 1.0);
}

#[test]
fn fairness_is_what_a_quiet_tenant_gets_and_fifo_is_not() {
    let trace = Trace::read(FLOOD).unwrap();
    let fair = ttft_p99(&run(&trace, &setting(Order::Fair)), "quiet");
    let fifo = ttft_p99(&run(&trace, &setting(Order::Fifo)), "quiet");
    assert!(fifo > 10.0 * fair, "{fifo} ms in order, {fair} ms fairly");
}

#[test]
fn who_is_refused_is_counted_by_reason() {
    let trace = Trace::read(&FLOOD.replace("tokens = 2000", "tokens = 5000")).unwrap();
    let report = run(&trace, &setting(Order::Fair));
    assert_eq!(report.rejections, [("context_exceeded".to_owned(), 100)].into());
    assert_eq!(report.finished, 19);
}

#[test]
fn a_tenant_s_bounds_and_deadlines_are_its_own() {
    let trace = Trace::read(FLOOD).unwrap();
    let bounded = |waiting_max, queue_us| {
        let tenant = Tenant { waiting_max, ..Tenant::unbounded(TenantId::default()) };
        let served = Served { tenant, queue_us, whole_us: None };
        let tenants = BTreeMap::from([("loud".to_owned(), served)]);
        run(&trace, &Setting { tenants, ..setting(Order::Fair) })
    };
    let finished = |report: &Report, name: &str| {
        report.tenants.iter().find(|tenant| tenant.name == name).unwrap().finished
    };
    let all = bounded(u32::MAX, None);
    assert_eq!((finished(&all, "loud"), finished(&all, "quiet")), (100, 19));
    let few = bounded(10, None);
    assert!(few.rejections["tenant_queue_full"] > 0 && finished(&few, "loud") < 100);
    let brief = bounded(u32::MAX, Some(100_000));
    assert!((1..100).contains(&finished(&brief, "loud")) && brief.rejections.is_empty());
    assert_eq!((finished(&few, "quiet"), finished(&brief, "quiet")), (19, 19));
}
