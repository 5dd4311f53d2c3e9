//! Behaviour through public interfaces, against real peers: a module a behaviour.
#![cfg(test)]

mod support;

#[expect(unreachable_pub, reason = "shared with the fuzz targets, which are crates of their own")]
#[path = "../../fuzz/src/lib.rs"]
mod doors;

mod alignment;
mod architecture;
mod associations;
mod audit;
mod benchmark;
mod browser;
mod capture;
mod chat;
mod commitment;
mod configuration;
mod crash;
mod dataset;
mod demo;
mod documents;
mod draft;
mod eligibility;
mod embedded;
mod evaluation;
mod faults;
mod findings;
mod fixtures;
mod fuzzed;
mod generation;
mod gpu_kernels;
mod hub;
mod isolation;
mod log;
mod model;
mod node;
mod pixels;
mod power;
mod quantized;
mod queue;
mod radiograph;
mod released;
mod retention;
mod saliency;
mod scan;
mod service;
mod spool;
mod structured_report;
mod tls;
mod training;
mod triage;
mod worklist;
