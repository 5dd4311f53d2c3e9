//! Behaviour through public interfaces, against real peers: a module a behaviour.
#![cfg(test)]

mod support;

mod alignment;
mod architecture;
mod associations;
mod benchmark;
mod browser;
mod capture;
mod chat;
mod configuration;
mod crash;
mod dataset;
mod demo;
mod documents;
mod draft;
mod embedded;
mod evaluation;
mod faults;
mod findings;
mod fixtures;
mod generation;
mod hub;
mod isolation;
mod model;
mod node;
mod power;
mod quantized;
mod queue;
mod radiograph;
mod released;
mod retention;
mod saliency;
mod scan;
mod spool;
mod structured_report;
mod training;
mod triage;
mod worklist;
