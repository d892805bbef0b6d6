//! Evaluations per second and core of ten typical KFL filters over calls from the dissector.
//!
//! `benches/kfl` at the top of the repository measures the same beside other languages.

mod workload;

use std::hint::black_box;
use std::time::Instant;

use remora_engine::kfl::{Context, Filter};
use remora_engine::model::Timestamp;

const ROUNDS: usize = 7;
const PASSES: usize = 40_000;

fn main() {
    let entries = workload::entries();
    let context = Context::new(Timestamp(1_773_527_400_000_000_000));
    println!("{:>10} {:>12}  filter (matching of {})", "ns", "per second", entries.len());
    for case in workload::CASES {
        let filter = Filter::parse(case.kfl, &context).expect("a filter");
        let matching = entries.iter().filter(|entry| filter.matches(entry)).count();
        let mut times: Vec<f64> = (0..ROUNDS).map(|_| round(&filter, &entries)).collect();
        times.sort_by(f64::total_cmp);
        let ns = times[ROUNDS / 2];
        println!("{ns:>10.1} {:>12.0}  {} ({matching})", 1e9 / ns, case.kfl);
    }
}

/// Nanoseconds of one evaluation.
fn round(filter: &Filter, entries: &[remora_engine::model::Entry]) -> f64 {
    let before = Instant::now();
    for _ in 0..PASSES {
        for entry in entries {
            black_box(filter.matches(black_box(entry)));
        }
    }
    before.elapsed().as_nanos() as f64 / (PASSES * entries.len()) as f64
}
