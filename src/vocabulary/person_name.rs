//! Person names of DICOM, for people to read.

/// A name (family, given, middle, prefix, suffix, with `^` between) as it is said: the given names
/// before the family's.
pub fn spoken(name: &str) -> String {
    let mut parts = name.split('^').map(str::trim);
    let mut next = || parts.next().unwrap_or_default();
    let (family, given, middle, prefix, suffix) = (next(), next(), next(), next(), next());
    let said = [prefix, given, middle, family, suffix];
    let parts: Vec<&str> = said.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn given_names_come_first() {
        assert_eq!(super::spoken("Doe^Jane^Q.^Dr."), "Dr. Jane Q. Doe");
        assert_eq!(super::spoken("Doe"), "Doe");
    }
}
