//! The metrics that Prometheus gets.

mod shell;

use shell::Place;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// Reads the text format, strictly: each metric once, its HELP and TYPE before its samples, no
/// series twice.
fn parse(text: &str) -> HashMap<String, f64> {
    let (mut samples, mut seen, mut current) = (HashMap::new(), HashSet::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(seen.insert(name.to_owned()) && help.ends_with('.'), "{line}");
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            current = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(&format!("{current}{{")) && series.ends_with('}'), "{line}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{line} twice");
        }
    }
    samples
}

#[test]
fn every_line_can_be_read_and_says_what_the_tables_say() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --durable a\\\"b --group sms");
    place.good("seq 10 | slipring pub $R; slipring work $R -g sms -c 3; slipring work $R -g sms -c 1 --exec 'exit 65'");
    // Two consumers without a name, in one process.
    let consumers: Vec<_> =
        (0..2).map(|_| slipring::Consumer::<[u8]>::attach(place.ring(), slipring::Start::Latest)).collect();
    let before = std::fs::read(place.ring()).unwrap();
    let metrics = parse(&String::from_utf8(place.shell("slipring metrics $R absent").stdout).unwrap());
    assert_eq!(std::fs::read(place.ring()).unwrap(), before, "the ring was written");
    drop(consumers);
    let ring = place.ring();
    let value = |name: &str, labels: &str| metrics[&format!("slipring_{name}{{ring=\"{ring}\"{labels}}}")];
    assert_eq!(metrics["slipring_up{ring=\"absent\"}"], 0.0);
    assert_eq!(value("up", ""), 1.0);
    assert_eq!(value("published_messages_total", ""), 10.0);
    assert_eq!(value("used_blocks", ""), 10.0);
    assert_eq!(value("consumers", ""), 2.0);
    assert_eq!(value("dead_letters", ""), 1.0);
    assert_eq!(value("consumer_lag_messages", ",consumer=\"a\\\"b\""), 10.0);
    assert_eq!(value("group_pending_messages", ",group=\"sms\""), 6.0);
    assert_eq!(value("group_ack_pending_messages", ",group=\"sms\""), 0.0);
    assert_eq!(value("group_rejected_total", ",group=\"sms\""), 1.0);
    assert_eq!(value("group_acknowledged_messages_total", ",group=\"sms\""), 3.0);
    let (code, error) = place.bad("slipring metrics $R absent > /dev/null");
    assert!(code == 1 && error.contains("absent"), "{error}");
    // The age of the message is unknown; 0 would say that no message waits.
    place.good("slipring create alone -b 48 -c 64 --group sms; slipring pub alone x");
    let age = "slipring metrics alone | grep -c '^slipring_group_oldest_pending_age_seconds'";
    assert_eq!(place.shell(age).stdout, b"0\n");
    assert!(place.good("slipring group info alone sms").contains("unknown: no worker"));
    place.good("slipring work alone -g sms -c 1");
    assert_eq!(place.good(age), "1\n");
}

#[test]
fn metrics_are_served_until_the_command_is_interrupted() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64");
    let mut server = Command::new(env!("CARGO_BIN_EXE_slipring"))
        .args(["metrics", "--listen", "127.0.0.1:0", place.file("").to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(server.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim().split("http://").nth(1).unwrap().trim_end_matches("/metrics").to_owned();
    for published in 0..3 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
        let count = parse(body)[&format!("slipring_published_messages_total{{ring=\"{}\"}}", place.ring())];
        assert_eq!(count, f64::from(published));
        place.good("slipring pub $R x");
    }
    // A ring that was made meanwhile, with its dead letters in the row of the ring; and how much
    // there is of it.
    place.good("slipring create later -b 48 -c 64 --group sms");
    let ask = |method: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(format!("{method} /metrics HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let whole = ask("GET");
    let samples = parse(whole.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(samples.keys().filter(|series| series.starts_with("slipring_up{")).count(), 2, "{whole}");
    assert_eq!(ask("HEAD"), whole[..whole.find("\r\n\r\n").unwrap() + 4]);
    // Clients that do not finish asking, and one that asks for something else.
    let mut hanging = TcpStream::connect(&address).unwrap();
    hanging.write_all(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n").unwrap();
    let mut other = TcpStream::connect(&address).unwrap();
    other.write_all(b"PUT / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let idle = TcpStream::connect(&address).unwrap();
    assert!(Command::new("kill").args(["-INT", &server.id().to_string()]).status().unwrap().success());
    assert!(server.wait().unwrap().success());
    drop((hanging, idle));
    let (code, error) = place.bad("slipring metrics --listen 256.0.0.1:1 $R");
    assert!(code == 1 && error.contains("256.0.0.1"), "{error}");
}

#[test]
fn a_file_of_metrics_is_whole_at_any_time() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64; slipring metrics --textfile out.prom $R; slipring pub $R x");
    let first = std::fs::read_to_string(place.file("out.prom")).unwrap();
    assert!(!parse(&first).is_empty());
    place.good("slipring metrics --textfile out.prom $R; ls out.prom*");
    assert_ne!(std::fs::read_to_string(place.file("out.prom")).unwrap(), first);
    assert_eq!(std::fs::read_dir(place.file("")).unwrap().count(), 2, "the ring and the file");
    assert_eq!(place.bad("slipring metrics --textfile absent/out.prom $R").0, 1);
    assert_eq!(place.bad("slipring metrics --textfile out.prom --every 0s $R").0, 2);
    assert_eq!(place.bad("slipring metrics --textfile out.prom --every 18446744073709551615s $R").0, 2);
    assert!(!parse(&place.good("slipring metrics $R $R")).is_empty(), "each ring once");
}
