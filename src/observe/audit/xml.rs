//! XML elements: only what audit messages need.

use std::fmt::Write;

/// An element under construction.
#[derive(Debug, Clone)]
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new(), children: Vec::new(), text: String::new() }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    pub(super) fn holding(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        text.clone_into(&mut self.text);
        self
    }

    pub(super) fn write(&self, out: &mut String) {
        // Writing to a String cannot fail.
        write!(out, "<{}", self.name).unwrap_or_default();
        for (name, value) in &self.attributes {
            write!(out, " {name}=\"{}\"", escaped(value)).unwrap_or_default();
        }
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for child in &self.children {
            child.write(out);
        }
        write!(out, "{}</{}>", escaped(&self.text), self.name).unwrap_or_default();
    }
}

/// Text as XML 1.0 can hold it: no character that it forbids, and no line break that a log would
/// take for the end of the message.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_out_of_its_place() {
        let hostile = "a\"<b>&c'\n\u{0}\u{1b}\u{FFFF}é";
        let mut out = String::new();
        let inner = Element::new("Inner").text(hostile);
        Element::new("Outer").with("value", hostile).holding(inner).write(&mut out);
        let document = roxmltree::Document::parse(&out).unwrap();
        let outer = document.root_element();
        let read = "a\"<b>&c'\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}é";
        assert_eq!(outer.attribute("value"), Some(read));
        assert_eq!(outer.first_element_child().unwrap().text(), Some(read));
        assert!(!out.contains('\n'));
    }
}
