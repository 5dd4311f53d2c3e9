//! Ten thousand studies: the list answers as soon, and the node holds no more.

use std::time::{Duration, Instant};

use super::super::support::{Node, Settings, http, job_store};

/// The figure is 100 ms on a quiet machine with a release build; tests run on neither.
const MOST: Duration = Duration::from_millis(400);

fn median(node: &Node, path: &str) -> Duration {
    let mut times: Vec<Duration> = (0..11)
        .map(|_| {
            let started = Instant::now();
            let (status, body) = http::request(node.http.port(), "GET", path, &[]).unwrap();
            assert_eq!(status, 200, "{path}");
            assert!(!body.is_empty());
            started.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// The node's memory in KiB once every page was asked for.
fn memory(node: &Node) -> u64 {
    for path in ["/", "/?q=lung", "/?page=2", "/api/studies?limit=100", "/metrics"] {
        median(node, path);
    }
    node.resident_kib()
}

#[test]
fn ten_thousand_studies_are_listed_as_soon_and_take_no_more_memory() {
    let mut node = Node::start(&Settings::default());
    node.kill();
    job_store::fill(&node.spool(), 0..100);
    node.restart();
    let few = memory(&node);
    node.kill();
    job_store::fill(&node.spool(), 100..10_000);
    node.restart();
    let many = memory(&node);
    for path in
        ["/", "/?q=lung", "/?q=nobody", "/?page=190", "/?priority=stat", "/rows", "/metrics"]
    {
        let took = median(&node, path);
        println!("{path}: {:.1} ms", took.as_secs_f64() * 1e3);
        assert!(took < MOST, "{path} took {took:?}");
    }
    println!("memory: {few} KiB with 100 studies, {many} KiB with 10,000");
    assert!(many < few + (16 << 10), "{few} KiB with 100 studies, {many} KiB with 10,000");
}
