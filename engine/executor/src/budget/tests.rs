use super::*;

const GB: u64 = 1_000_000_000;

fn budget(weights: u64, free: u64) -> Budget {
    let memory = DeviceMemory { device: "a GPU".to_owned(), total: 80 * GB, free: free * GB };
    Budget { memory, weights: weights * GB, workspace: GB }
}

#[test]
fn the_cache_gets_what_is_left_of_nine_tenths() {
    assert_eq!(budget(61, 79).rest(GB), (79 - 8 - 61 - 1) * GB);
    assert_eq!(budget(0, 79).rest(GB), 70 * GB);
}

#[test]
fn where_that_is_little_one_sequence_still_has_room() {
    assert_eq!(budget(69, 79).rest(2 * GB), 2 * GB);
    // 1.6 GB are never touched.
    assert_eq!(budget(69, 79).rest(20 * GB), 7_400_000_000);
    assert_eq!(budget(79, 79).rest(GB), 0);
}

#[test]
fn a_cache_that_does_not_fit_is_told_what_would() {
    let budget = budget(61, 79);
    assert!(budget.check(15 * GB, 1000, 16).is_ok());
    assert_eq!(
        budget.check(16 * GB, 1000, 16).unwrap_err().to_string(),
        "a cache of 16.0 GB does not fit: the weights take 61.0 GB and steps 1.0 GB, and of \
         80.0 GB on a GPU 79.0 GB are free; kv_bytes_max = 15400000000 would fit, for 246400000 \
         positions, and kv_bytes_max = 0 takes what is left"
    );
}

#[test]
fn a_model_that_does_not_fit_is_told_of_the_best_type_that_would() {
    let budget = budget(61, 36);
    assert_eq!(budget.most(), 0);
    let told = |smaller: &[(&'static str, u64)]| budget.too_large(smaller).to_string();
    let refused = "the model does not fit: the weights take 61.0 GB and steps 1.0 GB, and of \
                   80.0 GB on a GPU 36.0 GB are free";
    assert_eq!(
        told(&[("Q8_0", 40 * GB), ("Q6_K", 26 * GB), ("Q4_K", 18 * GB)]),
        format!("{refused}; with weights of type Q6_K they would take about 26.0 GB")
    );
    assert_eq!(
        told(&[("Q8_0", 80 * GB), ("Q4_K", 40 * GB)]),
        format!("{refused}; even weights of type Q4_K would take about 40.0 GB")
    );
}

#[test]
fn what_eight_bits_would_do_a_setting_does_too() {
    let smaller = [(named("Q8_0", WeightType::Auto), 30 * GB)];
    let told = budget(61, 36).too_large(&smaller).to_string();
    let advice = "with weights of type Q8_0, or with weight_type = \"fp8\", they would take about \
                  30.0 GB";
    assert!(told.ends_with(advice), "{told}");
    assert_eq!(named("Q8_0", WeightType::Fp8), "Q8_0");
    assert_eq!(named("Q4_K", WeightType::Auto), "Q4_K");
}

#[test]
fn bytes_are_told_in_the_unit_that_suits_them() {
    let told = [20, 999_400, 5_000_000, 61_080_000_000].map(|bytes| Bytes(bytes).to_string());
    assert_eq!(told, ["0.0 kB", "999.4 kB", "5.0 MB", "61.1 GB"]);
}
