//! Every key, with its default: the only place where either is written.

/// What TOML has to say for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Flag,
    /// An array of strings.
    Texts,
    /// A whole number or a string.
    IntegerOrText,
}

impl Kind {
    /// In words, for errors.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => "a string in quotes",
            Self::Integer => "a whole number",
            Self::Flag => "true or false",
            Self::Texts => "an array of strings",
            Self::IntegerOrText => "a whole number or a string in quotes",
        }
    }
}

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// Its name inside the table.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// Its default as TOML; `None`: it must be given.
    pub(super) default: Option<&'static str>,
}

/// A table of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// Its name between the brackets.
    pub(super) name: &'static str,
    /// What it may hold.
    pub(super) keys: &'static [Key],
}

impl Table {
    /// The key of a name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, kind, default: Some(default) }
}

const fn required(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, default: None }
}

/// `[name]`
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "node",
        keys: &[
            key("ae_title", Kind::Text, "\"THORASCRIBE\""),
            key("bind", Kind::Text, "\"127.0.0.1:11112\""),
            key("called_ae_titles", Kind::Texts, "[]"),
        ],
    },
    Table {
        name: "tls",
        keys: &[
            key("bind", Kind::Text, "\"\""),
            key("certificate", Kind::Text, "\"\""),
            key("key", Kind::Text, "\"\""),
            key("client_ca", Kind::Text, "\"\""),
            key("ca", Kind::Text, "\"\""),
        ],
    },
    Table {
        name: "http",
        keys: &[
            key("bind", Kind::Text, "\"127.0.0.1:8080\""),
            key("trusted_proxy", Kind::Text, "\"\""),
            key("session_idle", Kind::Text, "\"30m\""),
        ],
    },
    Table {
        name: "receive",
        keys: &[
            key("max_object", Kind::Text, "\"1 GiB\""),
            key("timeout", Kind::Text, "\"30s\""),
            key("max_associations", Kind::Integer, "64"),
            key("max_associations_per_address", Kind::Integer, "32"),
        ],
    },
    Table {
        name: "limits",
        keys: &[
            key("pdu", Kind::Text, "\"128 KiB\""),
            key("request", Kind::Text, "\"256 KiB\""),
            key("contexts", Kind::Integer, "128"),
            key("user_items", Kind::Integer, "256"),
            key("association_bytes", Kind::Text, "\"64 GiB\""),
            key("association_time", Kind::Text, "\"1d\""),
            key("request_timeout", Kind::Text, "\"\""),
            key("idle_timeout", Kind::Text, "\"\""),
            key("read_timeout", Kind::Text, "\"\""),
            key("write_timeout", Kind::Text, "\"\""),
            key("artim", Kind::Text, "\"10s\""),
            key("min_rate", Kind::Text, "\"1 KiB\""),
            key("depth", Kind::Integer, "64"),
            key("elements", Kind::Integer, "65536"),
            key("headers", Kind::Integer, "1000000"),
            key("value", Kind::Text, "\"64 MiB\""),
            key("inflated", Kind::Text, "\"128 MiB\""),
            key("side", Kind::Integer, "16384"),
            key("pixels", Kind::Integer, "100000000"),
            key("decode_memory", Kind::Text, "\"2 GiB\""),
            key("decode_timeout", Kind::Text, "\"1m\""),
        ],
    },
    Table {
        name: "spool",
        keys: &[key("path", Kind::Text, "\"\""), key("min_free", Kind::Text, "\"2 GiB\"")],
    },
    Table {
        name: "study",
        keys: &[
            key("quiet", Kind::Text, "\"10s\""),
            key("deadline", Kind::Text, "\"10m\""),
            key("assume_chest", Kind::Flag, "false"),
        ],
    },
    Table {
        name: "model",
        keys: &[
            key("path", Kind::Text, "\"\""),
            key("device", Kind::Text, "\"auto\""),
            key("prompt", Kind::IntegerOrText, "1"),
            key("ask_findings", Kind::Flag, "true"),
            key("max_tokens", Kind::Integer, "300"),
            key("views", Kind::Texts, "[\"PA\", \"AP\", \"\"]"),
        ],
    },
    Table {
        name: "deliver",
        keys: &[
            key("max_attempts", Kind::Integer, "12"),
            key("commitment_wait", Kind::Text, "\"10m\""),
        ],
    },
    Table { name: "retention", keys: &[key("after_delivery", Kind::Text, "\"7d\"")] },
    Table {
        name: "audit",
        keys: &[
            key("enabled", Kind::Flag, "true"),
            key("max_file", Kind::Text, "\"64 MiB\""),
            key("syslog", Kind::Text, "\"\""),
            key("syslog_ca", Kind::Text, "\"\""),
            key("syslog_name", Kind::Text, "\"\""),
        ],
    },
    Table {
        name: "log",
        keys: &[key("level", Kind::Text, "\"info\""), key("format", Kind::Text, "\"text\"")],
    },
];

/// `[[destination]]`
pub(super) const DESTINATION: Table = Table {
    name: "destination",
    keys: &[
        required("name", Kind::Text),
        required("ae_title", Kind::Text),
        required("host", Kind::Text),
        required("port", Kind::Integer),
        key("receives", Kind::Texts, "[\"report\"]"),
        key("sr_classes", Kind::Texts, "[\"enhanced\", \"basic\"]"),
        key("tls", Kind::Flag, "false"),
        key("tls_ca", Kind::Text, "\"\""),
        key("tls_name", Kind::Text, "\"\""),
        key("tls_certificate", Kind::Text, "\"\""),
        key("tls_key", Kind::Text, "\"\""),
        key("commitment", Kind::Flag, "false"),
    ],
};

/// `[[peer]]`
pub(super) const PEER: Table = Table {
    name: "peer",
    keys: &[
        required("ae_title", Kind::Text),
        required("address", Kind::Text),
        key("certificate", Kind::Text, "\"\""),
        key("username", Kind::Text, "\"\""),
        key("passcode_hash", Kind::Text, "\"\""),
    ],
};

/// `[[user]]`
pub(super) const USER: Table = Table {
    name: "user",
    keys: &[
        required("name", Kind::Text),
        required("display_name", Kind::Text),
        key("organization", Kind::Text, "\"\""),
        required("hash", Kind::Text),
        required("role", Kind::Text),
    ],
};

/// `[[rule]]`
pub(super) const RULE: Table = Table {
    name: "rule",
    keys: &[
        required("name", Kind::Text),
        required("when", Kind::Text),
        required("priority", Kind::Text),
    ],
};

/// `[[route]]`
pub(super) const ROUTE: Table = Table {
    name: "route",
    keys: &[
        required("name", Kind::Text),
        key("when", Kind::Text, "\"true\""),
        required("to", Kind::Texts),
        key("send", Kind::Texts, "[\"images\", \"report\"]"),
    ],
};

/// `[[name]]`
pub(super) const ARRAYS: &[Table] = &[DESTINATION, PEER, USER, RULE, ROUTE];

/// Every `table.key` that a variable can override.
pub(super) fn paths() -> impl Iterator<Item = (&'static Table, &'static Key)> {
    TABLES.iter().flat_map(|table| table.keys.iter().map(move |key| (table, key)))
}

/// The known name that `wrong` most likely means.
pub(super) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wrong = wrong.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wrong, &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
