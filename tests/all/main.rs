//! Behaviour through public interfaces, against real peers: a module a behaviour.
#![cfg(test)]

mod support;

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
mod embedded;
mod evaluation;
mod findings;
mod fixtures;
mod generation;
mod hub;
mod model;
mod node;
mod quantized;
mod queue;
mod radiograph;
mod released;
mod saliency;
mod scan;
mod spool;
mod structured_report;
mod tls;
mod training;
mod triage;
mod worklist;
