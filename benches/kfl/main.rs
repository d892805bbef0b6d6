//! KFL beside CEL (crate `cel`) and jq (crate `jaq`): the same ten questions to the same entries, one run.
//!
//! Each language gets the entries in its own in-memory form, made beforehand: KFL the entries
//! themselves, CEL variables, jaq JSON values. Bodies are texts in all of them (entries as JSON carry
//! base64, which would make the others decode first). What is timed is evaluation alone, on one core.

#[path = "../../daemon/engine/benches/kfl/workload.rs"]
mod workload;

use std::hint::black_box;
use std::time::{Duration, Instant};

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Ctx, Vars, data, unwrap_valr};
use remora_engine::kfl::{Context, Filter};
use remora_engine::model::{Entry, Timestamp, Value};
use remora_engine::present::{View, full_json};
use serde_json::Value as Json;

const ROUNDS: usize = 5;
/// Time of one round.
const ROUND: Duration = Duration::from_millis(120);

/// Nanoseconds of one evaluation (median of the rounds), and how many of the entries match.
type Figure = (f64, usize);

fn main() {
    let entries = workload::entries();
    let documents: Vec<Json> = entries.iter().map(document).collect();
    let contexts: Vec<cel::Context> = documents.iter().map(cel_context).collect();
    let values: Vec<jaq_json::Val> = documents
        .iter()
        .map(|document| jaq_json::read::parse_single(document.to_string().as_bytes()).expect("JSON"))
        .collect();
    println!("| Filter | KFL, evaluations/s | cel | jaq | KFL to cel | KFL to jaq |");
    println!("|---|---:|---:|---:|---:|---:|");
    for case in workload::CASES {
        let kfl = kfl(case.kfl, &entries);
        let cel = case.cel.map(|text| cel(text, &contexts));
        let jaq = jaq(case.jq, &values);
        assert!(cel.is_none_or(|cel| cel.1 == kfl.1), "cel answers otherwise: {}", case.kfl);
        assert_eq!(jaq.1, kfl.1, "jaq answers otherwise: {}", case.kfl);
        let rate = |figure: Figure| format!("{:.2} M", 1e3 / figure.0);
        let ratio = |figure: Figure| format!("{:.0}x", figure.0 / kfl.0);
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "no such function".into());
        println!(
            "| `{}` | {} ({:.0} ns) | {} | {} | {} | {} |",
            case.kfl.replace('|', "\\|"),
            rate(kfl),
            kfl.0,
            or_none(cel.map(rate)),
            rate(jaq),
            cel.map_or_else(|| "-".into(), ratio),
            ratio(jaq),
        );
    }
}

/// The full entry as JSON, bodies as texts.
fn document(entry: &Entry) -> Json {
    let mut json: Json = serde_json::from_str(&full_json(entry, &View::default())).expect("JSON");
    if let Some(Value::Bytes(body)) = entry.response.get("content").and_then(|content| content.get("text")) {
        json["response"]["content"]["text"] = String::from_utf8_lossy(body).into();
    }
    json
}

fn cel_context(document: &Json) -> cel::Context<'static, 'static> {
    let mut context = cel::Context::default();
    for (key, value) in document.as_object().expect("an object") {
        context.add_variable_from_value(key.as_str(), cel::to_value(value).expect("a value"));
    }
    context
}

fn kfl(text: &str, entries: &[Entry]) -> Figure {
    let context = Context::new(Timestamp(1_773_527_400_000_000_000));
    let filter = Filter::parse(text, &context).expect("a filter");
    measure(entries, |entry| filter.matches(entry))
}

fn cel(text: &str, contexts: &[cel::Context]) -> Figure {
    let program = cel::Program::compile(text).expect("a program");
    measure(contexts, |context| matches!(program.execute(context), Ok(cel::Value::Bool(true))))
}

fn jaq(text: &str, values: &[jaq_json::Val]) -> Figure {
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(defs).load(&arena, File { code: text, path: () }).expect("a program");
    let filter = jaq_core::Compiler::default().with_funs(funs).compile(modules).expect("a program");
    measure(values, |value| {
        let context = Ctx::<data::JustLut<jaq_json::Val>>::new(&filter.lut, Vars::new([]));
        let mut out = filter.id.run((context, value.clone())).map(unwrap_valr);
        matches!(out.next(), Some(Ok(jaq_json::Val::Bool(true))))
    })
}

fn measure<T>(items: &[T], matches: impl Fn(&T) -> bool) -> Figure {
    let matching = items.iter().filter(|item| matches(item)).count();
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (before, mut count) = (Instant::now(), 0_u64);
            while before.elapsed() < ROUND {
                for _ in 0..100 {
                    for item in items {
                        black_box(matches(black_box(item)));
                    }
                }
                count += 100 * items.len() as u64;
            }
            before.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    (rounds[ROUNDS / 2], matching)
}
