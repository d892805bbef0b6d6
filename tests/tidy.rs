//! Rules of the tree that no compiler checks: layers, one home per third-party crate, file headers.

use std::path::{Path, PathBuf};

/// Modules of the root package and what each may `use crate::…` from.
const LAYERS: &[(&str, &[&str])] = &[
    ("runtime", &[]),
    ("telemetry", &["runtime"]),
    ("config", &["runtime", "telemetry"]),
    ("host", &["config", "runtime", "telemetry"]),
    ("capture", &["config", "runtime", "telemetry"]),
    ("store", &["config", "runtime", "telemetry"]),
    ("tap", &["config", "runtime", "telemetry"]),
    ("resolve", &["host", "config", "runtime", "telemetry"]),
    ("pipeline", &["capture", "archive", "resolve", "store", "tap", "config", "runtime", "telemetry"]),
    ("archive", &["config", "runtime", "telemetry"]),
    ("snapshot", &["archive", "store", "resolve", "config", "runtime", "telemetry"]),
    ("api", &["snapshot", "store", "tap", "resolve", "config", "runtime", "telemetry"]),
];

/// Third-party crates with one home.
const HOMES: &[(&str, &[&str])] = &[
    ("libbpf_rs", &["daemon/capture/"]),
    ("iced_x86", &["daemon/capture/tls/"]),
    ("redb", &["daemon/store/"]),
    ("axum", &["daemon/api/"]),
    ("sd_notify", &["daemon/runtime/"]),
    ("rustix", &["daemon/runtime/"]),
    ("combine", &["daemon/engine/kfl/"]),
    ("httparse", &["daemon/engine/dissect/http1/", "daemon/engine/benches/"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(below: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut stack = vec![root().join(below)];
    while let Some(path) = stack.pop() {
        for entry in std::fs::read_dir(&path).expect("directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("source");
                found.push((relative(&path), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {below}");
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").display().to_string()
}

#[test]
fn modules_import_only_from_layers_below() {
    let mut wrong = Vec::new();
    for (path, text) in sources("daemon") {
        let Some((module, allowed)) =
            LAYERS.iter().find(|(module, _)| path.starts_with(&format!("daemon/{module}/")))
        else {
            continue;
        };
        for line in text.lines() {
            for (start, _) in line.match_indices("crate::") {
                let target: String =
                    line[start + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_layer = LAYERS.iter().any(|(name, _)| *name == target) || target == "app";
                if is_layer && target != *module && !allowed.contains(&target.as_str()) {
                    wrong.push(format!("{path}: {module} may not use {target}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn third_party_crates_stay_in_their_homes() {
    let mut wrong = Vec::new();
    for (path, text) in sources("daemon") {
        for (name, homes) in HOMES {
            let used = text.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && (line.contains(&format!("{name}::")) || line.contains(&format!("use {name}")))
            });
            if used && !homes.iter().any(|home| path.starts_with(home)) {
                wrong.push(format!("{path} uses {name}, which lives in {}", homes.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut missing = Vec::new();
    for folder in ["daemon", "tests"] {
        for (path, text) in sources(folder) {
            if !text.starts_with("//!") && text.lines().count() > 20 {
                missing.push(path);
            }
        }
    }
    assert!(missing.is_empty(), "without a //! purpose: {missing:?}");
}

#[test]
fn unsafe_code_stays_in_capture() {
    for (path, text) in sources("daemon") {
        let has = text.lines().any(|line| {
            let line = line.trim_start();
            !line.starts_with("//")
                && (line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl"))
        });
        assert!(!has || path.starts_with("daemon/capture/"), "{path} has unsafe code");
    }
}

#[test]
fn nothing_asks_to_be_kept_in_sync_by_hand() {
    for (path, text) in sources("daemon") {
        assert!(!text.to_lowercase().contains("keep in sync"), "{path}");
    }
}
