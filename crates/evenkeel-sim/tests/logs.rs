//! Lines of each format, good and bad, and whole logs.

use std::io::Cursor;
use std::time::Duration;

use evenkeel_sim::log::{Counts, FormatConfig, LogError, Record, Records, ReplayConfig, Scan, ServiceTime};
use evenkeel_types::Ratio;
use proptest::prelude::*;

fn config(format: &str, log_format: Option<&str>) -> ReplayConfig {
    let format = FormatConfig::named(format, log_format.map(str::to_owned))
        .expect("a test's own log and settings are right");
    ReplayConfig::new("test.log".into(), format)
}

fn read(config: &ReplayConfig, text: &[u8]) -> Result<(Vec<Record>, Counts), LogError> {
    let mut records = Records::new(config, Box::new(Cursor::new(text.to_vec())))?;
    let mut all = Vec::new();
    while let Some(record) = records.read_next()? {
        all.push(record);
    }
    Ok((all, records.counts().clone()))
}

/// When it was sent, in milliseconds since 1970, its service time and what the proxy saw, in microseconds.
fn one(config: &ReplayConfig, line: &str) -> (u64, u64, u64) {
    let (records, counts) = read(config, line.as_bytes()).expect("a test's own log and settings are right");
    assert_eq!(records.len(), 1, "{line} {counts:?}");
    (records[0].at / 1_000_000, records[0].service / 1000, records[0].seen / 1000)
}

const NGINX: &str = r#"::1 - - [10/Oct/2000:13:55:36 +0000] "GET /a?x=1 HTTP/1.1" 200 612 "-" "curl/8" "#;

#[test]
fn each_format_says_when_and_how_long() {
    let nginx = config("nginx", None);
    // The line is written at the end: 971186136.400 - 0.250.
    let line = format!("{NGINX}0.250 0.200 971186136.400");
    assert_eq!(one(&nginx, &line), (971_186_136_150, 200_000, 200_000));
    // Two servers were tried: the last one worked for 50 ms, the proxy saw 150 ms.
    let line = format!("{NGINX}0.250 0.100, 0.050 971186136.400");
    assert_eq!(one(&nginx, &line), (971_186_136_150, 50_000, 150_000));
    let line = format!("{NGINX}0.250 0.100, - : 0.050 971186136.400");
    assert_eq!(one(&nginx, &line), (971_186_136_150, 50_000, 150_000));
    // Less than a step counts as half of it.
    let line = format!("{NGINX}0.000 0.000 971186136.400");
    assert_eq!(one(&nginx, &line), (971_186_136_400, 500, 500));

    let haproxy = config("haproxy", None);
    let line = concat!(
        "10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/5/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 ",
        r#"{1wt.eu} {} "GET /index.html HTTP/1.1""#
    );
    // It took 10 ms to arrive, and waited 5 ms at the proxy.
    let expected = (1_233_922_454_665, 94_000, 99_000);
    assert_eq!(one(&haproxy, line), expected);
    assert_eq!(one(&haproxy, &format!("Feb  6 12:14:14 localhost haproxy[14389]: {line}")), expected);
    assert_eq!(one(&haproxy, &line.replace("{1wt.eu} {} ", "")), expected);
    let tcp = config("haproxy_tcp", None);
    let line =
        "haproxy[1]: 10.0.1.2:33313 [06/Feb/2009:12:12:51.443] fnt bck/srv1 7/0/5007 212 -- 0/0/0/0/3 0/0";
    assert_eq!(one(&tcp, line), (1_233_922_371_443, 5_000_000, 5_007_000));
    // The timers of versions before 1.7.
    let old = config("haproxy", Some("%ci:%cp [%t] %ft %b/%s %Tq/%Tw/%Tc/%Tr/%Tt %ST"));
    assert_eq!(one(&old, "10.0.1.2:33317 [06/Feb/2009:12:14:14.655] f b/s 10/5/30/69/109 200"), expected);

    let envoy = config("envoy", None);
    let line = concat!(
        r#"[2016-04-15T20:17:00.310Z] "POST /api/v1/locations?x HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "#,
        r#""cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "10.0.2.1:80""#
    );
    assert_eq!(one(&envoy, line), (1_460_751_420_310, 100_000, 100_000));
    let total = ReplayConfig { service: ServiceTime::Total, ..envoy };
    assert_eq!(one(&total, line), (1_460_751_420_310, 226_000, 226_000));
    let short = config("envoy", Some("%START_TIME(%s.%3f)% %DURATION%\n"));
    assert_eq!(one(&short, "1460751420.310 7"), (1_460_751_420_310, 7_000, 7_000));

    let json = config("envoy_json", None);
    let line = concat!(
        r#"{"start_time":"2016-04-15T20:17:00.310Z","duration":226,"upstream_service_time":"100","#,
        r#""response_code":503,"path":"/a?b","upstream_host":"10.0.2.1:80"}"#
    );
    assert_eq!(one(&json, line), (1_460_751_420_310, 100_000, 100_000));
    let (records, _) = read(&json, line.as_bytes()).unwrap();
    assert!(records[0].is_error && records[0].server.is_some());
    let own = config("evenkeel", None);
    let line = r#"{"time":1700000000.250,"path":"/a?b","status":200,"endpoint":"a","bytes":5,"ms":1.500,"complete":true}"#;
    assert_eq!(one(&own, line), (1_700_000_000_250, 1_500, 1_500));
    let json = config("json", None);
    let line =
        r#"{"time":"2016-04-15T20:17:00.310Z","key":"k","duration_ms":3,"upstream_ms":1.25,"status":200}"#;
    assert_eq!(one(&json, line), (1_460_751_420_310, 1_250, 1_250));
    assert_eq!(one(&config("csv", None), "1700000000.500,a,0.010"), (1_700_000_000_500, 10_000, 10_000));
}

#[test]
fn fields_columns_and_units_are_settings() {
    let json: FormatConfig = toml::from_str(
        "type = 'json'\ntime = 'at.end_ms'\nstamp = 'end'\nduration = 'took:us'\nstatus = 'code'",
    )
    .unwrap();
    let json = ReplayConfig::new("x".into(), json);
    let line = r#"{"at":{"end_ms":1700000000500},"took":2500000,"code":"500"}"#;
    assert_eq!(one(&json, line), (1_699_999_998_000, 2_500_000, 2_500_000));
    let csv: FormatConfig =
        toml::from_str("type = 'csv'\ntime = 'when'\nservice = 'took_ms'\nstatus = 'code'\ndelimiter = ';'")
            .unwrap();
    let csv = ReplayConfig { key: Some("who".to_owned()), ..ReplayConfig::new("x".into(), csv) };
    let text = "code;who;took_ms;when\n200;\"a;b\"\"c\";10;1700000000.5\n500;d;20;1700000000.75\n";
    let (records, counts) = read(&csv, text.as_bytes()).unwrap();
    assert_eq!(records.iter().map(|record| record.service).collect::<Vec<_>>(), [10_000_000, 20_000_000]);
    assert_eq!(records.iter().map(|record| record.is_error).collect::<Vec<_>>(), [false, true]);
    assert_eq!((counts.lines, counts.malformed), (2, 0));
    // Columns by number may have names above them all the same.
    let (records, counts) = read(&config("csv", None), b"time,key,service\n1,a,1\n").unwrap();
    assert_eq!((records.len(), counts.malformed), (1, 0));
    let keys = |name: &str| {
        let nginx = ReplayConfig { key: Some(name.to_owned()), ..config("nginx", None) };
        read(&nginx, format!("{NGINX}0.250 0.200 971186136.400").as_bytes()).map(|read| read.0[0].key)
    };
    assert_ne!(keys("$remote_addr").unwrap(), keys("request").unwrap());
    assert!(keys("cookie_sid").unwrap_err().to_string().contains("a variable of the format: remote_addr"));
}

#[test]
fn formats_that_say_too_little_are_refused_by_name() {
    for (format, log_format, says) in [
        ("nginx", "$remote_addr [$time_local] $status", "$upstream_response_time or $request_time"),
        ("nginx", "$request_time $status", "$msec, $time_iso8601 or $time_local"),
        ("haproxy", "%ci [%tr] %ST", "%Ta or %Tt"),
        ("haproxy", "%ci %Ta", "%tr or %t"),
        ("envoy", "%START_TIME% %PROTOCOL%", "%DURATION%"),
        ("envoy", "%DURATION%", "%START_TIME%"),
    ] {
        let told = read(&config(format, Some(log_format)), b"").unwrap_err().to_string();
        assert!(told.contains("log_format") && told.contains(says), "{told}");
    }
    assert!(FormatConfig::named("apache", None).unwrap_err().allowed.contains("nginx"));
    assert!(FormatConfig::named("csv", Some("x".into())).unwrap_err().allowed.contains("log_format"));
    for (field, config) in [
        ("arrivals.replay.speed", ReplayConfig { speed: 0.0, ..config("csv", None) }),
        ("arrivals.replay.work_times", ReplayConfig { work_times: f64::NAN, ..config("csv", None) }),
        ("arrivals.replay.window", ReplayConfig { window: Duration::ZERO, ..config("csv", None) }),
    ] {
        assert!(matches!(read(&config, b""), Err(LogError::Invalid(wrong)) if wrong.field == field));
    }
}

/// Bad lines are told by number, and what is wrong.
#[test]
fn bad_lines_are_counted_and_told() {
    for (format, line, says) in [
        ("nginx", "what", r#"no " - " behind remote_addr, in "what""#),
        ("nginx", &format!("{NGINX}0.250 zero 971186136.400"), "upstream_response_time is \"zero\""),
        ("nginx", &format!("{NGINX}-1 0.1 971186136.400"), "request_time is \"-1\""),
        ("nginx", &format!("{NGINX}0.250 0.200 971186136.400 more"), "time is \"971186136.400 more\""),
        (
            "nginx",
            &format!("{}0.250 0.200 971186136.400", NGINX.replace(" 200 ", " 20 ")),
            "status is \"20\"",
        ),
        (
            "haproxy",
            "a:1 [06/Feb/2009:12:14:14.655] f b/s 1/1/1/1/+9 200 1 - - ---- 1/1/1/1/0 0/0 \"GET",
            "no \"\\\"\"",
        ),
        (
            "haproxy",
            "a:1 [06/Feb/2009:12:14:14.655] f b/s 1/1/1/1/+9 200 1 - - ---- 1/1/1/1/0 0/0 \"G\"",
            "logasap",
        ),
        ("haproxy_tcp", "a:1 [yesterday] f b/s 1/1/1 1 -- 1/1/1/1/0 0/0", "time is \"yesterday\""),
        ("envoy_json", "{", "EOF while parsing"),
        ("envoy_json", "[]", "no object"),
        ("envoy_json", "{}", "start_time is absent"),
        ("json", r#"{"time":1}"#, "duration_ms is absent"),
        ("json", r#"{"time":1,"duration_ms":-1}"#, "duration_ms is \"-1\""),
        ("json", r#"{"time":[1],"duration_ms":1}"#, "time is \"[1]\""),
        ("csv", "1,a", "column 2 is absent"),
        ("csv", "1,a,b", "column 2 is \"b\""),
        ("csv", "99999999999999,a,1", "column 0 is \"99999999999999\""),
    ] {
        let config = ReplayConfig { max_malformed: Ratio::ONE, ..config(format, None) };
        let (records, counts) = read(&config, format!("\n{line}\n\n").as_bytes()).unwrap();
        assert_eq!((records.len(), counts.lines, counts.malformed), (0, 1, 1), "{line}");
        let told = counts.first[0].to_string();
        assert!(told.starts_with("line 2: ") && told.contains(says), "{told}");
    }
}

#[test]
fn requests_without_server_or_answer_are_left_out_and_counted() {
    let lines = format!(
        "{NGINX}0.250 - 971186136.400\n{NGINX}9.000 9.000 971186136.400\n{NGINX}0.1 0.1 971186136.4\n"
    );
    let nginx = ReplayConfig { longest: Some(Duration::from_secs(5)), ..config("nginx", None) };
    let (records, counts) = read(&nginx, lines.as_bytes()).unwrap();
    assert_eq!((records.len(), counts.not_sent, counts.too_long, counts.skipped()), (1, 1, 1, 2));
    let lines = concat!(
        "a:1 [06/Feb/2009:12:14:14.655] f f/<NOSRV> -1/-1/-1/-1/9 400 1 - - PR-- 1/1/1/1/0 0/0 \"<BADREQ>\"\n",
        "a:1 [06/Feb/2009:12:14:14.655] f b/s 1/1/-1/-1/9 503 1 - - sC-- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"\n",
        "a:1 [06/Feb/2009:12:14:14.655] f b/s 1/1/1/-1/9 504 1 - - sH-- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"\n",
    );
    let (records, counts) = read(&config("haproxy", None), lines.as_bytes()).unwrap();
    assert_eq!((records.len(), counts.not_sent, counts.unanswered), (0, 1, 2));
    let line = r#"{"start_time":"2016-04-15T20:17:00.310Z","duration":226,"upstream_service_time":null,"response_code":404}"#;
    let (_, counts) = read(&config("envoy_json", None), line.as_bytes()).unwrap();
    assert_eq!(counts.not_sent, 1);
}

#[test]
fn too_many_bad_lines_are_an_error() {
    let good = "1700000000.500,a,0.010\n";
    let bad = "x\n";
    let text = |bads: usize| good.repeat(199) + &bad.repeat(bads);
    let (records, counts) = read(&config("csv", None), text(2).as_bytes()).unwrap();
    assert_eq!((records.len(), counts.malformed, counts.first.len()), (199, 2, 2));
    let told = read(&config("csv", None), text(3).as_bytes()).unwrap_err();
    assert!(
        matches!(&told, LogError::Malformed { malformed: 3, lines: 202, first, .. } if first[0].line == 200)
    );
    // Nobody waits for the end of a log of another format.
    let told = read(&config("nginx", None), good.repeat(5000).as_bytes()).unwrap_err();
    assert!(
        matches!(&told, LogError::Malformed { malformed: 1000, lines: 1000, first, .. } if first.len() == 10)
    );
}

#[test]
fn logs_without_requests_and_without_a_file_are_errors() {
    let empty = Scan::of(Records::new(&config("csv", None), Box::new(Cursor::new(Vec::new()))).unwrap());
    assert_eq!(empty, Err(LogError::Empty { lines: 0, skipped: 0, first: Vec::new() }));
    assert!(matches!(Scan::new(&config("csv", None)), Err(LogError::Read { lines: 0, .. })));
}

/// Lines come by their ends, requests by their beginnings.
#[test]
fn order_is_that_of_beginnings() {
    let text = format!(
        "{NGINX}0.010 0.010 971186136.400\n{NGINX}5.000 5.000 971186136.500\n{NGINX}0.010 0.010 971186199.000\n"
    );
    let (records, _) = read(&config("nginx", None), text.as_bytes()).unwrap();
    assert_eq!(records.iter().map(|record| record.line).collect::<Vec<_>>(), [2, 1, 3]);
    let late = format!("{text}{NGINX}0.010 0.010 971186259.000\n{NGINX}70.000 70.000 971186200.000\n");
    let told = read(&config("nginx", None), late.as_bytes()).unwrap_err();
    assert!(matches!(told, LogError::Late { line: 5, newest: 4, .. }), "{told}");
}

#[test]
fn gzip_is_seen_by_its_first_bytes() {
    use std::io::Write as _;
    let text = "1700000000.500,a,0.010\n1700000001.500,b,0.020\n";
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("gzip.csv.gz");
    let mut packed = Vec::new();
    for part in text.lines() {
        // As logrotate and cat make it: several members.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writeln!(encoder, "{part}").unwrap();
        packed.extend(encoder.finish().unwrap());
    }
    std::fs::write(&path, &packed).unwrap();
    let config = ReplayConfig { path: path.clone(), ..config("csv", None) };
    let scan = Scan::new(&config).unwrap();
    assert_eq!((scan.counts.requests, scan.mean_service), (2, 15_000_000.0));
    std::fs::write(&path, &packed[..packed.len() - 4]).unwrap();
    assert!(matches!(Scan::new(&config), Err(LogError::Read { .. })), "cut off");
}

proptest! {
    /// Whatever stands in a file: no panic, requests in order, and each line counted once.
    #[test]
    fn any_bytes_are_counted(
        format in prop::sample::select(vec!["nginx", "haproxy", "haproxy_tcp", "envoy", "envoy_json", "evenkeel", "json", "csv"]),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        lines in prop::collection::vec(prop::sample::select(vec![
            "1700000000.5,a,0.01", "1700000000,\"a,b", "{\"time\":1700000000.5,\"duration_ms\":1,\"upstream_ms\":null}",
            "a:1 [06/Feb/2009:12:14:14.655] f b/s 1/1/1/1/9 200 1 - - ---- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"",
            "{}", "", "\"", "::1 - - [10/Oct/2000:13:55:36 +0000] \"GET /\" 200 6 \"-\" \"\" 0.250 0.2, - 971186136.400",
        ]), 0..8),
    ) {
        let config = ReplayConfig { max_malformed: Ratio::ONE, window: Duration::from_secs(1_000_000_000 / 400), ..config(format, None) };
        let mut text = lines.join("\n").into_bytes();
        text.push(b'\n');
        text.extend(bytes);
        if let Ok((records, counts)) = read(&config, &text) {
            prop_assert!(records.windows(2).all(|pair| pair[0].at <= pair[1].at));
            prop_assert!(records.iter().all(|record| record.service > 0 && record.seen > 0));
            prop_assert_eq!(records.len() as u64, counts.requests);
            prop_assert_eq!(counts.lines, counts.requests + counts.malformed + counts.skipped());
            prop_assert_eq!(read(&config, &text).unwrap().0, records);
        }
    }
}
