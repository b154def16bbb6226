//! Every committed vector file is reproduced, answer by answer; and the runner notices when one is not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use evenkeel_conformance::{NothingToRun, Report, Verdict, run};

fn check(program: &str, files: usize) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(program);
    let report = run(&dir).expect("the committed files can be read");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.files.len(), files, "{report}");
    assert!(report.files.iter().all(|file| file.program == program), "{report}");
}

#[test]
fn envoy() {
    check("envoy", 12);
}

#[test]
fn grpc() {
    check("grpc", 3);
}

#[test]
fn haproxy() {
    check("haproxy", 22);
}

#[test]
fn nginx() {
    check("nginx", 12);
}

#[test]
fn pingora() {
    check("pingora", 5);
}

#[test]
fn traefik() {
    check("traefik", 2);
}

/// A folder of our own with these files, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, files: &[(&str, &str)]) -> Self {
        let dir = env::temp_dir().join(format!("evenkeel-conformance-{}-{name}", process::id()));
        for (file, text) in files {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().expect("in the folder")).expect("a folder can be made");
            fs::write(path, text).expect("a file can be written");
        }
        fs::create_dir_all(&dir).expect("a folder can be made");
        Self(dir)
    }

    fn report(&self) -> Report {
        run(&self.0).expect("there are files")
    }

    fn exit(&self) -> Option<i32> {
        exit_with(&[self.0.as_os_str()])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn exit_with(arguments: &[&std::ffi::OsStr]) -> Option<i32> {
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel-conformance")).args(arguments).output();
    output.expect("the program starts").status.code()
}

const ROUND_ROBIN: &str = r#"{"type":"meta","program":"pingora","algorithm":"LoadBalancer<Weighted<RoundRobin>>"}
{"type":"case","id":"two","config":{"what":"lb_round_robin"},"servers":[{"addr":"10.0.0.1:80","weight":2},{"addr":"10.0.0.2:80"}],"picks":[0,0,1,0,0,1]}
"#;

#[test]
fn files_are_found_by_content_and_depth_not_by_name() {
    let folder = Folder::with(
        "deep",
        &[("a/b/whatever.jsonl", ROUND_ROBIN), ("c.jsonl", ROUND_ROBIN), ("notes.txt", "nothing")],
    );
    let report = folder.report();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.exact(), (12, 12));
    let text = report.to_string();
    assert!(
        text.starts_with("pingora/LoadBalancer<Weighted<RoundRobin>> a/b/whatever.jsonl 6/6\n"),
        "{text}"
    );
    assert!(text.ends_with("total 12/12 in 2 files, 0 files banded, 0 files failed\n"), "{text}");
    assert_eq!(folder.exit(), Some(0));
}

#[test]
fn one_wrong_pick_fails() {
    let wrong = ROUND_ROBIN.replace("0,0,1,0,0,1", "0,0,1,0,1,1");
    let folder = Folder::with("wrong", &[("right.jsonl", ROUND_ROBIN), ("wrong.jsonl", &wrong)]);
    let report = folder.report();
    assert!(!report.is_clean(), "{report}");
    assert_eq!(report.exact(), (11, 12));
    assert!(matches!(&report.files[1].verdict, Verdict::Exact(tally) if tally.mismatches.len() == 1));
    assert_eq!(folder.exit(), Some(1));
}

#[test]
fn what_cannot_be_replayed_fails() {
    let meta = r#"{"type":"meta","program":"pingora","algorithm":"none"}"#;
    let case = |config: &str| {
        format!(r#"{meta}{}{{"type":"case","id":"x","config":{config},"servers":[],"picks":[0]}}"#, "\n")
    };
    for (name, text) in [
        ("program", ROUND_ROBIN.replace("pingora", "another")),
        ("what", case(r#"{"what":"something else"}"#)),
        ("config", case("7")),
        ("no-case", meta.to_owned()),
        ("no-meta", ROUND_ROBIN.lines().skip(1).collect()),
        ("no-json", "picks: none".to_owned()),
        ("empty", String::new()),
        ("type", r#"{"type":"other"}"#.to_owned()),
    ] {
        let folder = Folder::with(name, &[("file.jsonl", &text)]);
        assert!(!folder.report().is_clean(), "{name}: {}", folder.report());
        assert_eq!(folder.exit(), Some(1), "{name}");
    }
}

#[test]
fn a_case_that_cannot_be_replayed_does_not_hide_the_others() {
    let other = ROUND_ROBIN.lines().nth(1).expect("a case").replace("lb_round_robin", "lb_of_tomorrow");
    let folder = Folder::with("mixed", &[("file.jsonl", &format!("{ROUND_ROBIN}{other}"))]);
    let report = folder.report();
    assert!(!report.is_clean(), "{report}");
    assert_eq!(report.exact(), (6, 7));
    assert!(report.to_string().contains("lb_of_tomorrow"), "{report}");
}

#[test]
fn nothing_to_run_is_no_success() {
    let folder = Folder::with("nothing", &[("readme.md", "no vectors")]);
    assert!(matches!(run(&folder.0), Err(NothingToRun::Empty(_))));
    assert_eq!(folder.exit(), Some(1));
    let missing = folder.0.join("missing");
    assert!(matches!(run(&missing), Err(NothingToRun::Io { .. })));
    assert_eq!(exit_with(&[missing.as_os_str()]), Some(1));
    assert_eq!(exit_with(&[]), Some(2));
    assert_eq!(exit_with(&["a".as_ref(), "b".as_ref()]), Some(2));
}

#[test]
fn measurements_are_counted_apart() {
    let measured = r#"{"type":"meta","program":"envoy","algorithm":"panic"}
{"type":"case","id":"x","config":{},"counts":[1,2]}"#;
    let folder = Folder::with("measured", &[("named_otherwise.jsonl", measured)]);
    let report = folder.report();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.exact(), (0, 0));
    assert!(matches!(report.files[0].verdict, Verdict::Banded(_)));
}

/// How many comparisons the recorded behaviour offers, and that each is within its band.
#[test]
fn outlier_detection_behaves_as_recorded() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/envoy/behaviour_outlier.jsonl");
    let report = run(&file).expect("the committed file can be read");
    let Verdict::Banded(Some(tally)) = &report.files[0].verdict else { panic!("not replayed: {report}") };
    assert_eq!((tally.passed, tally.total), (181, 181), "{report}");
}

/// The replay must notice a detector that ejects later, or for another time.
#[test]
fn other_settings_do_not_pass_for_the_recorded_ones() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/envoy/behaviour_outlier.jsonl");
    let recorded = fs::read_to_string(file).expect("the committed file can be read");
    for (name, from, to) in [
        ("run", "\"consecutive_5xx\":5", "\"consecutive_5xx\":9"),
        ("time", "\"base_ejection_time\":\"1s\"", "\"base_ejection_time\":\"3s\""),
        ("cap", "\"max_ejection_percent\":50", "\"max_ejection_percent\":10"),
        ("factor", "\"success_rate_stdev_factor\":1500", "\"success_rate_stdev_factor\":2500"),
        ("threshold", "\"failure_percentage_threshold\":30", "\"failure_percentage_threshold\":60"),
    ] {
        assert!(recorded.contains(from), "{from}");
        let folder = Folder::with(name, &[("behaviour_outlier.jsonl", &recorded.replace(from, to))]);
        let report = folder.report();
        let Verdict::Banded(Some(tally)) = &report.files[0].verdict else { panic!("not replayed: {report}") };
        assert!(tally.passed < tally.total, "{name}: {report}");
    }
}
