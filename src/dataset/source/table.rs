//! CSV tables of an archive, packed by gzip or not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::dataset::error::{DatasetError, failed};

/// A row by column name.
pub(super) type Row = BTreeMap<String, String>;

/// The rows of a table, of these columns; each must be there.
pub(super) fn rows(path: &Path, columns: &[&str]) -> Result<Vec<Row>, DatasetError> {
    let file = File::open(path).map_err(failed("open it", path))?;
    let packed = path.extension().is_some_and(|ending| ending == "gz");
    let bytes: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let malformed = |reason: String| DatasetError::Malformed { path: path.to_owned(), reason };
    let mut reader = csv::Reader::from_reader(std::io::BufReader::new(bytes));
    let header = reader.headers().map_err(|error| malformed(error.to_string()))?.clone();
    let places = columns
        .iter()
        .map(|name| {
            let place = header.iter().position(|column| column == *name);
            place
                .map(|place| (*name, place))
                .ok_or_else(|| malformed(format!("no column {name:?}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| malformed(error.to_string()))?;
        let field = |place: usize| record.get(place).unwrap_or_default().trim().to_owned();
        rows.push(places.iter().map(|(name, place)| ((*name).to_owned(), field(*place))).collect());
    }
    Ok(rows)
}

/// A field of a row; empty where it is not there.
pub(super) fn field<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).map_or("", String::as_str)
}
