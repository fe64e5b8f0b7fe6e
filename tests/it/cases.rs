//! Every worked case, through the naive model and the engine, in every delivery order.

use std::path::Path;

use leveret_sim::cases::find;

#[test]
fn every_worked_case_comes_out_as_expected_in_every_delivery_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("merge-spec/cases");
    let verdicts: Vec<_> = find(&folder).iter().map(|found| found.run()).collect();
    assert!(verdicts.len() >= 15, "the worked cases are there");
    let failed: Vec<String> = verdicts
        .iter()
        .filter_map(|verdict| Some(format!("{}: {}", verdict.file, verdict.failure.as_ref()?)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let deliveries: usize = verdicts.iter().map(|verdict| verdict.deliveries).sum();
    println!("{} cases, {deliveries} deliveries", verdicts.len());
}
