//! Everything that is counted, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;

/// A part of the work whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From the first byte of an object to its acknowledgement.
    Receive,
    /// Decoding an object and making the picture.
    Read,
    /// The image encoder.
    Encode,
    /// The language model over prompt and image.
    Prefill,
    /// The language model, token by token.
    Decode,
    /// Building the report.
    Report,
    /// One attempt to deliver.
    Deliver,
}

impl Stage {
    const ALL: [Self; 7] = [
        Self::Receive,
        Self::Read,
        Self::Encode,
        Self::Prefill,
        Self::Decode,
        Self::Report,
        Self::Deliver,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Read => "read",
            Self::Encode => "encode",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Report => "report",
            Self::Deliver => "deliver",
        }
    }
}

/// The node's counters; a clone counts on the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    associations: Family<Labels, Counter>,
    objects: Family<Labels, Counter>,
    jobs: Family<Labels, Gauge>,
    stages: Family<Labels, Histogram>,
    tokens: Counter,
    deliveries: Family<Labels, Counter>,
    bytes: Counter,
    errors: Family<Labels, Counter>,
    audit: Family<Labels, Counter>,
    waiting: Family<Labels, Gauge>,
    oldest: Family<Labels, Gauge<f64, AtomicU64>>,
}

/// Upper bounds in seconds: a fast encoder stays apart from a slow one, up to a minute.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

impl Metrics {
    /// Counters at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("thorascribe");
        let (associations, objects, deliveries) =
            (Family::default(), Family::default(), Family::default());
        let (jobs, tokens) = (Family::default(), Counter::default());
        let (bytes, errors) = (Counter::default(), Family::default());
        let (waiting, oldest) = (Family::default(), Family::default());
        let histogram: fn() -> Histogram = || Histogram::new(BOUNDS);
        let stages: Family<Labels, Histogram> = Family::new_with_constructor(histogram);
        registry.register("associations", "Associations by how they ended", associations.clone());
        registry.register("objects_received", "Objects by how they were answered", objects.clone());
        registry.register("jobs", "Jobs by state", jobs.clone());
        registry.register("stage_seconds", "Seconds that a stage took", stages.clone());
        registry.register("generated_tokens", "Tokens that the model wrote", tokens.clone());
        registry.register("deliveries", "Attempts to deliver by outcome", deliveries.clone());
        registry.register("received_bytes", "Bytes of the objects that were kept", bytes.clone());
        registry.register("errors", "Failed work by stage and kind", errors.clone());
        registry.register("queue_depth", "Pieces of work that wait, by stage", waiting.clone());
        let help = "Seconds that the oldest piece of work waits, by stage";
        registry.register("queue_oldest_seconds", help, oldest.clone());
        let audit = Family::default();
        let help = "Audit messages: kept in the local copy or lost, sent or unsent by syslog";
        registry.register("audit_messages", help, audit.clone());
        // Each stage is there from the start, so that a rate over it never begins in the middle.
        for stage in Stage::ALL {
            drop(stages.get_or_create(&label("stage", stage.label())));
        }
        Self {
            registry: Arc::new(registry),
            associations,
            objects,
            jobs,
            stages,
            tokens,
            deliveries,
            bytes,
            errors,
            audit,
            waiting,
            oldest,
        }
    }

    /// An association ended: `outcome` is of a closed set, such as `released`, `aborted`,
    /// `rejected`, `timeout`.
    pub fn association(&self, outcome: &'static str) {
        self.associations.get_or_create(&label("outcome", outcome)).inc();
    }

    /// An object was answered: `stored`, `duplicate`, `refused` and the like.
    pub fn object(&self, outcome: &'static str) {
        self.objects.get_or_create(&label("outcome", outcome)).inc();
    }

    /// An object of so many bytes was kept.
    pub fn received_bytes(&self, count: u64) {
        self.bytes.inc_by(count);
    }

    /// A piece of work failed: stage and kind are of closed sets.
    pub fn error(&self, stage: &'static str, kind: &'static str) {
        let labels = vec![("stage", stage.to_owned()), ("kind", kind.to_owned())];
        self.errors.get_or_create(&labels).inc();
    }

    /// An audit message was `kept` in the local copy or `lost`, `sent` or `unsent` by syslog.
    pub fn audit(&self, outcome: &'static str) {
        self.audit.get_or_create(&label("outcome", outcome)).inc();
    }

    /// How much waits for a stage now, and the oldest of it for how long; set before
    /// [`Metrics::text`].
    pub fn queue(&self, stage: &'static str, count: u64, oldest: Duration) {
        let labels = label("stage", stage);
        self.waiting.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        self.oldest.get_or_create(&labels).set(oldest.as_secs_f64());
    }

    /// A stage took `seconds` of wall-clock time.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.stages.get_or_create(&label("stage", stage.label())).observe(took.as_secs_f64());
    }

    /// The model wrote `count` tokens.
    pub fn generated_tokens(&self, count: u64) {
        self.tokens.inc_by(count);
    }

    /// An attempt to deliver ended: `sent`, `retry` or `dead`.
    pub fn delivery(&self, destination: &str, outcome: &'static str) {
        let labels = vec![("destination", destination.to_owned()), ("outcome", outcome.to_owned())];
        self.deliveries.get_or_create(&labels).inc();
    }

    /// How many jobs are in each state now; set before [`Metrics::text`].
    pub fn jobs<'a>(&self, counts: impl IntoIterator<Item = (&'a str, u64)>) {
        for (state, count) in counts {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.jobs.get_or_create(&label("state", state)).set(count);
        }
    }

    /// The OpenMetrics text of all counters.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        match encode(&mut text, &self.registry) {
            Ok(()) | Err(std::fmt::Error) => text,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_contract() {
        let metrics = Metrics::new();
        metrics.association("released");
        metrics.object("stored");
        metrics.stage(Stage::Encode, Duration::from_millis(30));
        metrics.generated_tokens(7);
        metrics.delivery("pacs", "sent");
        metrics.jobs([("received", 2)]);
        metrics.received_bytes(512);
        metrics.error("drafting", "radiograph");
        metrics.queue("delivery", 3, Duration::from_millis(1500));
        let text = metrics.text();
        for line in [
            "thorascribe_associations_total{outcome=\"released\"} 1",
            "thorascribe_objects_received_total{outcome=\"stored\"} 1",
            "thorascribe_jobs{state=\"received\"} 2",
            "thorascribe_stage_seconds_count{stage=\"encode\"} 1",
            "thorascribe_stage_seconds_count{stage=\"deliver\"} 0",
            "thorascribe_generated_tokens_total 7",
            "thorascribe_received_bytes_total 512",
            "thorascribe_errors_total{stage=\"drafting\",kind=\"radiograph\"} 1",
            "thorascribe_queue_depth{stage=\"delivery\"} 3",
            "thorascribe_queue_oldest_seconds{stage=\"delivery\"} 1.5",
            "thorascribe_deliveries_total{destination=\"pacs\",outcome=\"sent\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
