use super::*;

fn error(text: &str) -> String {
    Trace::read(text).unwrap_err().to_string()
}

#[test]
fn a_table_has_requests_in_any_order_and_of_many_tenants() {
    let trace = Trace::read(
        "TIMESTAMP,ContextTokens,GeneratedTokens,Tenant\n\
         2023-11-16 18:17:04.0000000,100,7,b\n\
         2023-11-16 18:17:03.9799600,374,44,a\n",
    )
    .unwrap();
    let arrival = |at_us, tenant, prompt, output| Arrival { at_us, tenant, prompt, output };
    assert_eq!(trace.tenants, [("b".to_owned(), 1), ("a".to_owned(), 1)]);
    assert_eq!(trace.arrivals, [arrival(0, 1, 374, 44), arrival(20_040, 0, 100, 7)]);
    let trace = Trace::read("TIMESTAMP,ContextTokens,GeneratedTokens\n1.5,3,4\n").unwrap();
    assert_eq!(trace.tenants, [("default".to_owned(), 1)]);
}

#[test]
fn a_wrong_cell_is_named_by_line_and_column() {
    let table = |row: &str| format!("TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\n{row}\n");
    assert_eq!(
        error(&table("1,many,3")),
        "line 3, column ContextTokens: \"many\" is not a number of tokens from 1 to 16777216"
    );
    assert!(error(&table("1,2,0")).starts_with("line 3, column GeneratedTokens: \"0\" is not"));
    assert!(error(&table("noon,2,3")).starts_with("line 3, column TIMESTAMP: \"noon\" is not"));
    assert!(error(&table("1,2")).contains("line: 3"), "{}", error(&table("1,2")));
    assert!(error("TIMESTAMP,ContextTokens\n1,2\n").contains("no column GeneratedTokens"));
    assert_eq!(error("TIMESTAMP,ContextTokens,GeneratedTokens\n"), "the trace has no request");
}

const SPEC: &str = "seed = 7\nduration_s = 600\nweights = { b = 2 }\n\
    [[stream]]\ntenant = 'a'\narrivals = { kind = 'gamma', rate = 5.0, shape = 0.5 }\n\
    prompt = { kind = 'lognormal', median = 200, sigma = 1.0, max = 2000 }\n\
    output = { kind = 'uniform', min = 10, max = 20 }\n\
    [[stream]]\ntenant = 'b'\narrivals = { kind = 'burst', count = 3 }\nfrom_s = 60\n\
    prompt = { kind = 'fixed', tokens = 9 }\noutput = { kind = 'fixed', tokens = 1 }\n";

#[test]
fn a_specification_is_drawn_the_same_every_time() {
    let trace = Trace::read(SPEC).unwrap();
    assert_eq!(trace, Trace::read(SPEC).unwrap());
    assert_ne!(trace, Trace::read(&SPEC.replace("seed = 7", "seed = 8")).unwrap());
    assert_eq!(trace.tenants, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let of = |tenant| trace.arrivals.iter().filter(move |arrival| arrival.tenant == tenant);
    assert!((2_500..=3_500).contains(&of(0).count()), "{} in ten minutes", of(0).count());
    assert!(of(0).all(|arrival| (10..=20).contains(&arrival.output) && arrival.prompt <= 2_000));
    assert!(of(1).all(|arrival| arrival.at_us == 60_000_000) && of(1).count() == 3);
    assert!(trace.arrivals.is_sorted_by_key(|arrival| arrival.at_us));
}

#[test]
fn a_wrong_specification_is_named_by_key_or_by_place() {
    let refused = |from: &str, to: &str| error(&SPEC.replace(from, to));
    assert_eq!(
        refused("shape = 0.5", "shape = 0"),
        "stream[0].arrivals.shape is 0, and must be from 0.01 to 100"
    );
    assert_eq!(
        refused("max = 20 ", "max = 2 "),
        "stream[0].output.max is 2, and must be from 10 to 16777216"
    );
    assert_eq!(refused("b = 2", "b = 0"), "weights.b is 0, and must be from 1 to 1000000");
    assert!(refused("rate = 5.0", "rate = 1e6").contains("at most 20000000 requests"));
    assert!(refused("seed", "sed").contains("line 1, column 1"));
    assert!(refused("'gamma'", "'often'").contains("line 6"));
}
