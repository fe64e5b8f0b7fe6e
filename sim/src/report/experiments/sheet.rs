//! Figures of one experiment: columns with units, and rows; as a table for people, as objects for
//! programs, and as points for charts.

use serde_json::{Map, Value, json};

use super::super::chart::{Series, Table, Unit, shown};

/// One figure, or a word that says what a row is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Word(&'static str),
    Number(f64),
    /// There is nothing to say.
    Nothing,
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Self::Nothing, Self::Number)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(number as f64)
    }
}

impl From<&'static str> for Cell {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

/// What a column is called by programs and by people, and its unit.
pub(super) type Column = (&'static str, &'static str, Unit);

/// See the top of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sheet {
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
}

impl Sheet {
    pub(super) fn new(columns: &'static [Column]) -> Self {
        let rows = Vec::new();
        Self { columns, rows }
    }

    /// One more row.
    ///
    /// # Panics
    /// If it has not a cell for each column.
    pub(super) fn push<const N: usize>(&mut self, row: [Cell; N]) {
        assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.push(row.into());
    }

    /// For people.
    pub(super) fn table(&self) -> Table {
        let cell = |(cell, column): (&Cell, &Column)| match cell {
            Cell::Word(word) => (*word).to_owned(),
            Cell::Number(number) => shown(*number, column.2),
            Cell::Nothing => "–".to_owned(),
        };
        let row = |row: &Vec<Cell>| row.iter().zip(self.columns).map(cell).collect();
        Table {
            columns: self
                .columns
                .iter()
                .map(|column| column.1.to_owned())
                .collect(),
            rows: self.rows.iter().map(row).collect(),
        }
    }

    /// For programs: seconds, bytes and hundredths as they are.
    pub(super) fn json(&self) -> Value {
        let value = |cell: &Cell| match cell {
            Cell::Word(word) => json!(word),
            Cell::Number(number) => json!(number),
            Cell::Nothing => Value::Null,
        };
        let row = |row: &Vec<Cell>| {
            let cells = row.iter().zip(self.columns);
            let object: Map<_, _> = cells
                .map(|(cell, column)| (column.0.to_owned(), value(cell)))
                .collect();
            Value::Object(object)
        };
        self.rows.iter().map(row).collect()
    }

    /// A line for charts: of the rows in which `chosen` holds, the number of one column against
    /// that of another, by the names that programs know them by.
    ///
    /// # Panics
    /// If there are no such columns of numbers.
    pub(super) fn line(&self, name: &str, x: &str, y: &str, chosen: &[(&str, Cell)]) -> Series {
        let is_chosen = |row: &&Vec<Cell>| {
            chosen
                .iter()
                .all(|(column, cell)| row[self.at(column)] == *cell)
        };
        let number = |row: &Vec<Cell>, column| match row[self.at(column)] {
            Cell::Number(number) => number,
            Cell::Word(word) => panic!("{word} is no number"),
            Cell::Nothing => f64::NAN,
        };
        let rows = self.rows.iter().filter(is_chosen);
        Series {
            name: name.to_owned(),
            points: rows.map(|row| (number(row, x), number(row, y))).collect(),
        }
    }

    fn at(&self, name: &str) -> usize {
        let found = self.columns.iter().position(|column| column.0 == name);
        found.unwrap_or_else(|| panic!("a column called {name}"))
    }
}
