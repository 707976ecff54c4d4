use super::*;

fn keyed(name: &str, keys: &[&str]) -> Tenant {
    let key_hashes = keys.iter().map(|key| KeyHash::of(key)).collect();
    Tenant { key_hashes, ..Tenant::unbounded(name) }
}

fn tenancy(tenants: Vec<Tenant>) -> Tenancy {
    Tenancy { tenants, admin_key_hashes: vec![KeyHash::of("root")] }
}

fn who(directory: &Directory, key: Option<&str>) -> Option<String> {
    let caller = directory.find(key.map(KeyHash::of).as_ref())?;
    Some(caller.name().to_string())
}

#[test]
fn everybody_is_served_where_there_are_no_tenants() {
    let directory = Directory::new();
    assert!(directory.is_open());
    assert_eq!(who(&directory, None).as_deref(), Some(DEFAULT_TENANT));
    assert!(!directory.is_admin(&KeyHash::of("root")));
}

#[test]
fn keys_tell_tenants_apart_and_a_new_table_counts_as_a_whole() {
    let directory = Directory::new();
    let first = tenancy(vec![keyed("a", &["1", "2"]), keyed("b", &["3"])]);
    let mut told = Vec::new();
    let changes = directory.replace(&first, |tenants| told.push(tenants)).unwrap();
    assert_eq!(changes.to_string(), "added: a (2 keys), b (1 keys); admin keys: 0 -> 1");
    for (key, name) in [("1", "a"), ("2", "a"), ("3", "b")] {
        assert_eq!(who(&directory, Some(key)).as_deref(), Some(name));
    }
    assert_eq!((who(&directory, Some("4")), who(&directory, None)), (None, None));
    assert!(directory.is_admin(&KeyHash::of("root")) && !directory.is_admin(&KeyHash::of("1")));

    let mut second = tenancy(vec![keyed("c", &["4"]), keyed("a", &["2"])]);
    second.tenants[1].weight = 3;
    second.tenants[0].anonymous = true;
    let changes = directory.replace(&second, |tenants| told.push(tenants)).unwrap();
    assert_eq!(
        changes.to_string(),
        "added: c (1 keys); removed: b; changed: a (weight 1 -> 3, keys 2 -> 1)"
    );
    assert_eq!((who(&directory, Some("1")), who(&directory, Some("3"))), (None, None));
    assert_eq!(who(&directory, None).as_deref(), Some("c"));

    let ids = |tenants: &Tenants| tenants.iter().map(|tenant| tenant.id.0).collect::<Vec<_>>();
    assert_eq!(told.iter().map(ids).collect::<Vec<_>>(), [vec![1, 2], vec![1, 3]], "0 is default");
}

#[test]
fn a_table_that_is_wrong_changes_nothing() {
    let directory = Directory::new();
    directory.replace(&tenancy(vec![keyed("a", &["1"])]), |_| {}).unwrap();
    let wrong = tenancy(vec![keyed("b", &["2"]), keyed("b", &["3"])]);
    let error = directory.replace(&wrong, |_| panic!("nobody is told")).unwrap_err();
    assert_eq!(error.path, "tenants[1].name");
    assert_eq!(who(&directory, Some("1")).as_deref(), Some("a"));
    assert_eq!(who(&directory, Some("2")), None);
}

#[test]
fn what_is_used_up_outlives_the_table() {
    let directory = Directory::new();
    let mut table = tenancy(vec![keyed("a", &["1"])]);
    table.tenants[0].rates.requests_per_minute = std::num::NonZeroU64::new(2);
    directory.replace(&table, |_| {}).unwrap();
    let clock = crate::clock::Clock::start();
    let caller = directory.find(Some(&KeyHash::of("1"))).unwrap();
    let mut charge = Charge::of_request(caller.member(), clock).unwrap();
    charge.submitted();
    drop(charge);
    let refused = Charge::of_request(caller.member(), clock).unwrap();
    drop(refused);
    directory.replace(&table, |_| {}).unwrap();
    let caller = directory.find(Some(&KeyHash::of("1"))).unwrap();
    // A refused request takes nothing; one that was taken counts, and leaks in half a minute.
    let _second = Charge::of_request(caller.member(), clock).unwrap();
    let third = Charge::of_request(caller.member(), clock).unwrap_err();
    assert!(third.to_string().contains("2 requests a minute"), "{third}");
}

#[test]
fn a_flood_is_refused_before_the_scheduler_hears_of_it() {
    let directory = Directory::new();
    let mut table = tenancy(vec![keyed("a", &["1"]), keyed("b", &["2"])]);
    (table.tenants[0].waiting_max, table.tenants[0].running_max) = (2, 9);
    directory.replace(&table, |_| {}).unwrap();
    let caller = |key| directory.find(Some(&KeyHash::of(key))).unwrap();
    let take = |key| Place::take(caller(key).member(), 3);
    let mut places: Vec<_> = (0..5).map(|_| take("1").unwrap()).collect();
    let refused = take("1").unwrap_err().to_string();
    assert!(refused.contains("5 of its requests are waiting, and 2 may"), "{refused}");
    let _others = take("2").unwrap();
    places.pop();
    places.push(take("1").unwrap());
    assert!(take("1").is_err());
}
