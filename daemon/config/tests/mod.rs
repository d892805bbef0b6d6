//! What is accepted, what is refused, and what is said about it.

use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// Sources that see only what a test gives them.
fn sources(file: &str) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("remora.toml");
    std::fs::write(&path, file).unwrap();
    (directory, Sources { file: Some(path), ..Sources::default() })
}

fn load(file: &str) -> Result<Config, Vec<String>> {
    let (directory, sources) = sources(file);
    let prefix = format!("{}/", directory.path().display());
    Config::load(&sources)
        .map_err(|errors| errors.0.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect())
}

fn load_variable(name: &str, value: &str) -> Result<Config, ConfigErrors> {
    let (_directory, mut sources) = sources("");
    sources.environment.push((name.to_owned(), value.to_owned()));
    Config::load(&sources)
}

#[test]
fn an_empty_file_gives_the_defaults_and_they_are_valid() {
    assert_eq!(load("").unwrap(), Config::default());
}

#[test]
fn sizes_durations_lists_and_roles_are_read() {
    let config = load(
        "[store]\nmax-size = \"2GiB\"\nmax-age = \"24h\"\n[capture.include]\nports = [80, 443]\n\
         networks = [\"10.0.0.0/8\", \"::1\"]\n[access.users]\nalice = \"viewer\"\n1001 = \"admin\"\n",
    )
    .unwrap();
    assert_eq!(config.store.max_size, ByteSize(2 << 30));
    assert_eq!(config.store.max_age(), Some(Duration::from_secs(86_400)));
    assert_eq!(config.capture.include.ports, [80, 443]);
    assert_eq!(config.capture.include.networks[1].prefix, 128);
    assert_eq!(config.access.users["1001"], Role::Admin);
    assert_eq!(load("[store]\nmax-age = 0").unwrap().store.max_age(), None);
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let problems = load(
        "[store]\nmax-sise = 1\nmax-size = \"huge\"\n\n[lisen]\ntcp = []\n[listen]\ntcp = [\"0.0.0.0:80\"]\n\
         [dissection]\nshards = -1\n",
    )
    .unwrap_err();
    let has = |line: &str, text: &str| {
        assert!(
            problems.iter().any(|it| it.starts_with(line) && it.contains(text)),
            "{text} in {problems:#?}"
        );
    };
    has("remora.toml:2: ", "unknown key store.max-sise; did you mean store.max-size?");
    has("remora.toml:3: ", "\"huge\" is no size; write a whole number and a unit");
    has("remora.toml:5: ", "unknown key lisen");
    has("remora.toml:8: ", "listen.allow-plaintext = true");
    has("remora.toml:10: ", "dissection.shards");
    assert_eq!(problems.len(), 5);
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let problems = load("[log]\nlevel = \"info\n").unwrap_err();
    assert!(problems[0].starts_with("remora.toml:2: "), "{problems:?}");
}

#[test]
fn drop_ins_win_by_name_then_variables_then_flags() {
    let (directory, mut sources) = sources("[log]\nlevel = \"error\"\n[node]\nname = \"a\"\n");
    let drop_ins = directory.path().join("remora.toml.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(drop_ins.join("20.toml"), "[log]\nlevel = \"info\"\n").unwrap();
    std::fs::write(drop_ins.join("10.toml"), "[log]\nlevel = \"warn\"\n[store]\nenabled = false\n").unwrap();
    std::fs::write(drop_ins.join("30.toml.bak"), "broken").unwrap();
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.log.level.as_str(), config.store.enabled), ("info", false));
    sources.environment.push(("REMORA_LOG__LEVEL".to_owned(), "debug".to_owned()));
    assert_eq!(Config::load(&sources).unwrap().log.level, "debug");
    sources.flags.push(("--log-level", "log.level", "trace".to_owned()));
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.log.level.as_str(), config.node.name.as_str()), ("trace", "a"));
}

#[test]
fn variables_may_be_toml_text_or_lists_with_commas() {
    assert!(!load_variable("REMORA_STORE__ENABLED", "false").unwrap().store.enabled);
    assert_eq!(load_variable("REMORA_NODE__NAME", "007").unwrap().node.name, "007");
    assert_eq!(load_variable("REMORA_STORE__MAX_SIZE", "1GiB").unwrap().store.max_size, ByteSize(1 << 30));
    let config = load_variable("REMORA_LISTEN__TCP", "127.0.0.1:1,[::1]:2").unwrap();
    assert_eq!(config.listen.tcp.len(), 2);
    let config = load_variable("REMORA_CAPTURE__EXCLUDE__PORTS", "[22, 53]").unwrap();
    assert_eq!(config.capture.exclude.ports, [22, 53]);
    let errors = load_variable("REMORA_STORE__MAXSIZE", "1").unwrap_err();
    assert_eq!(errors.0[0].origin, "REMORA_STORE__MAXSIZE");
    assert!(load_variable("REMORA_CONFIG", "x").is_ok(), "variables without a section are not about keys");
}

#[test]
fn plaintext_off_loopback_needs_tls_or_to_be_asked_for() {
    let open = "[listen]\ntcp = [\"192.0.2.1:8899\"]\n";
    let problems = load(open).unwrap_err();
    assert!(
        problems[0].contains("listen.tls-cert") && problems[0].contains("allow-plaintext"),
        "{problems:?}"
    );
    load(&format!("{open}allow-plaintext = true\n")).unwrap();
    load(&format!("{open}tls-cert = \"/c.pem\"\ntls-key = \"/k.pem\"\n")).unwrap();
    assert!(load("[listen]\ntls-cert = \"/c.pem\"\n").is_err());
    load("[listen]\ntcp = [\"127.9.9.9:1\", \"[::1]:1\", \"[::ffff:127.0.0.1]:1\"]\nunix = \"\"\n").unwrap();
}

#[test]
fn a_named_file_must_exist() {
    let sources = Sources { file: Some(PathBuf::from("/nonexistent/remora.toml")), ..Sources::default() };
    let errors = Config::load(&sources).unwrap_err();
    assert!(errors.to_string().contains("/nonexistent/remora.toml: cannot be read"), "{errors}");
}

#[test]
fn what_is_rendered_loads_to_the_same_configuration() {
    let mut config = Config::default();
    config.access.users.insert("alice".to_owned(), Role::Viewer);
    config.capture.exclude.networks.push("fd00::/8".parse().unwrap());
    config.stream.shard_queue = ByteSize((1 << 20) + 1);
    config.node.drain_timeout = Period(Duration::from_millis(1500));
    assert_eq!(load(&config.render()).unwrap(), config, "{}", config.render());
    assert_eq!(load(&Config::default().render()).unwrap(), Config::default());
}

#[test]
fn the_packaged_file_documents_every_key_with_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/remora.toml");
    let packaged = std::fs::read_to_string(path).unwrap();
    assert_eq!(load(&packaged).unwrap(), Config::default());
    // "#key = value" is a default, "# words" are prose.
    let is_default =
        |line: &str| line.starts_with('#') && line[1..].starts_with(|it: char| it.is_ascii_lowercase());
    let lines: Vec<&str> =
        packaged.lines().map(|line| if is_default(line) { &line[1..] } else { line }).collect();
    let uncommented = lines.join("\n");
    assert_eq!(load(&uncommented).unwrap(), Config::default());
    let table: toml::Table = uncommented.parse().unwrap();
    for key in Key::ALL {
        let mut node = &toml::Value::Table(table.clone());
        for part in key.name.split('.') {
            node = node.get(part).unwrap_or_else(|| panic!("{} is not documented", key.name));
        }
    }
}

#[test]
fn keys_are_kebab_case_and_unique() {
    let mut names: Vec<_> = Key::ALL.iter().map(|key| key.name).collect();
    assert!(
        names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || b".-".contains(&byte)))
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Key::ALL.len());
}

#[test]
fn sizes_and_durations_have_one_form() {
    for (text, form) in [("1024", "1KiB"), ("1 MiB", "1MiB"), ("1500", "1500"), ("1kb", "1000"), ("0", "0")] {
        assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), form);
    }
    for (text, form) in [("60s", "1m"), ("90m", "90m"), ("1500ms", "1500ms"), ("48h", "2d"), ("0", "0")] {
        assert_eq!(text.parse::<Period>().unwrap().to_string(), form);
    }
    for text in ["", "MiB", "1.5GiB", "-1", "1XB", "99999999999GiB"] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
    for text in ["", "10", "m", "1y", "-1s"] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
}
