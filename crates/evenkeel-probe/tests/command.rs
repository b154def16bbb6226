//! Commands that pass, fail, hang, fork and talk too much.

#![cfg(all(feature = "command", unix))]
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests against real sockets and processes, which take real time"
)]

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_probe::{CommandProbe, Phase, Prober, ProberConfig, Reason};
use support::{LATE, PATIENCE, SOON, fails, next, passes, target, watch};

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 9], 81))
}

fn shell(script: &str) -> CommandProbe {
    CommandProbe { timeout: LATE, ..CommandProbe::new("/bin/sh", ["-c", script]) }
}

#[test]
fn the_exit_code_decides_and_the_output_says_why() {
    passes(anywhere(), shell("exit 0"));
    let reason = fails(anywhere(), shell("echo no disk; echo really >&2; exit 3"), "exit");
    assert!(matches!(&reason, Reason::Exit { code: 3, output } if output.contains("no disk")), "{reason}");
    // Whoever leaves the group escapes, but keeps nobody waiting.
    let escaped = shell("setsid sleep 3 & echo bye; exit 4");
    assert_eq!(fails(anywhere(), escaped, "exit").to_string(), "exit code 4: bye");
    let reason = fails(anywhere(), shell("kill -9 $$"), "signal");
    assert!(matches!(reason, Reason::Signal { signal: 9, .. }), "{reason}");
    fails(anywhere(), CommandProbe::new("/nonexistent/program", [""; 0]), "spawn");
}

#[test]
fn it_knows_the_endpoint_and_little_else() {
    let script = r#"[ "$EVENKEEL_ADDRESS" = 127.0.0.9:81 ] && [ "$EVENKEEL_HOST" = 127.0.0.9 ] &&
        [ "$EVENKEEL_PORT" = 81 ] && [ "$MINE" = "a b" ] && [ -z "$CARGO_MANIFEST_DIR" ] && [ -n "$PATH" ] &&
        [ "$PWD" = / ] && [ -z "$(cat)" ]"#;
    let env = [("MINE".to_owned(), "a b".to_owned())].into();
    passes(anywhere(), CommandProbe { env, directory: Some("/".into()), ..shell(script) });
    let inherited = CommandProbe { inherit_env: true, ..shell(r#"[ -n "$CARGO_MANIFEST_DIR" ]"#) };
    passes(anywhere(), inherited);
    // No shell takes part: this is an argument and not a command line.
    passes(anywhere(), CommandProbe { timeout: LATE, ..CommandProbe::new("test", ["$HOME", "=", "$HOME"]) });
}

#[test]
fn output_without_end_neither_fills_memory_nor_keeps_the_prober() {
    let soon = CommandProbe { timeout: SOON, ..shell("yes") };
    assert_eq!(fails(anywhere(), soon, "timed_out"), Reason::TimedOut(Phase::Command));
    let much = CommandProbe { max_output: 0, ..shell("head -c 500000 /dev/zero; exit 1") };
    let reason = fails(anywhere(), much, "exit");
    assert_eq!(reason.to_string(), "exit code 1: ");
}

#[test]
fn what_it_forked_dies_with_it_when_time_is_up() {
    let file = Note::new("hang");
    let script = format!("sleep 1000 & (trap '' TERM; sleep 1000) & echo $! > {}; sleep 1000", file.path());
    let soon = CommandProbe { timeout: Duration::from_millis(500), ..shell(&script) };
    assert_eq!(fails(anywhere(), soon, "timed_out"), Reason::TimedOut(Phase::Command));
    file.is_dead();
}

#[test]
fn what_it_forked_dies_with_it_when_it_ends() {
    let file = Note::new("end");
    // The one left behind keeps the pipes open.
    passes(anywhere(), shell(&format!("sleep 1000 & echo $! > {}; exit 0", file.path())));
    file.is_dead();
}

#[test]
fn what_runs_dies_when_the_target_goes_and_when_the_prober_stops() {
    for stop in [false, true] {
        let file = Note::new(if stop { "stop" } else { "remove" });
        let prober = Prober::start(ProberConfig::default()).unwrap();
        let script = format!("sleep 1000 & echo $! > {}; sleep 1000", file.path());
        let _reports = watch(&prober, target("it", anywhere(), shell(&script)));
        file.read();
        if stop {
            prober.stop();
        } else {
            assert!(prober.remove(&"it".parse().unwrap()).is_some());
        }
        file.is_dead();
    }
}

#[test]
fn commands_wait_for_each_other_and_not_for_connections() {
    let prober = Prober::start(ProberConfig { max_commands: 1, ..ProberConfig::default() }).unwrap();
    let _blocked: Vec<_> = ["a", "b"]
        .map(|id| watch(&prober, target(id, anywhere(), shell("sleep 1000"))))
        .into_iter()
        .collect();
    let server = support::Server::new(|_| async {});
    let reports = watch(&prober, target("tcp", server.address, evenkeel_probe::TcpProbe::default()));
    for _ in 0..3 {
        next(&reports);
    }
    while prober.report().waiting == 0 {
        std::thread::yield_now();
    }
    let running =
        prober.targets().iter().filter(|target| target.running && target.id.as_str() != "tcp").count();
    assert_eq!(running, 1);
}

/// A file in which a script writes the number of a process.
struct Note(PathBuf);

impl Note {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-probe-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    fn read(&self) -> String {
        let begun = std::time::Instant::now();
        loop {
            let text = std::fs::read_to_string(&self.0).unwrap_or_default();
            if text.ends_with('\n') {
                return text.trim().to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "the script did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the process ended: it is gone, or waits for its new parent to take notice.
    fn is_dead(&self) {
        let process = self.read();
        let begun = std::time::Instant::now();
        loop {
            let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            if status.is_empty() || status.contains(") Z") {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "it still runs: {status}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Run by the next test, in a process that ignores SIGCHLD.
#[test]
#[ignore = "needs another process"]
fn without_sigchld() {
    let prober = Prober::start(ProberConfig::default()).unwrap();
    for script in ["exit 0", "exit 3"] {
        let reports =
            watch(&prober, target(script.split(' ').next_back().unwrap(), anywhere(), shell(script)));
        let found = next(&reports).finding.unwrap();
        assert_eq!(found.result, None, "{found:?}");
        assert!(found.reason.unwrap().to_string().contains("SIGCHLD"));
    }
}

#[test]
fn a_process_that_ignores_its_children_takes_no_endpoint_down() {
    // As a supervisor does that starts its services so; shells do not let CHLD be ignored.
    let ignoring = || {
        let mut env = std::process::Command::new("env");
        env.arg("--ignore-signal=CHLD");
        env
    };
    if !ignoring().arg("true").status().is_ok_and(|status| status.success()) {
        println!("not tried: env of GNU coreutils 8.31 is needed");
        return;
    }
    let me = std::env::current_exe().unwrap();
    let done =
        ignoring().arg(me).args(["without_sigchld", "--exact", "--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
