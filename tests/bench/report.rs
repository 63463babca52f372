//! What was found: a table for people, JSON for programs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The figures of one part.
#[derive(Debug)]
pub(crate) struct Report {
    part: String,
    folder: PathBuf,
    values: Map<String, Value>,
    complaints: Vec<String>,
}

/// One side of the table is text, the other figures.
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(part: &str, folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("the folder for figures can be made");
        println!("\n{part}");
        Self {
            part: part.to_owned(),
            folder: folder.to_owned(),
            values: Map::new(),
            complaints: Vec::new(),
        }
    }

    /// Keeps a figure or a setting under its name, with the unit in it. What stands behind a point is the name in an object,
    /// as in `messages_per_s.64`.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        let (object, key) = match name.split_once('.') {
            None => (&mut self.values, name),
            Some((object, key)) => {
                let object = self
                    .values
                    .entry(object)
                    .or_insert_with(|| Map::new().into());
                let object = object.as_object_mut().expect("a name is of one kind");
                (object, key)
            }
        };
        let before = object.insert(key.to_owned(), value.into());
        assert!(before.is_none(), "{name} is there twice");
    }

    /// Something is not as it must be: the run fails at its end.
    pub(crate) fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    /// Writes a text beside the figures, and returns its path.
    pub(crate) fn write_beside(&self, suffix: &str, text: &str) -> PathBuf {
        let path = self.folder.join(format!("{}-{suffix}", self.part));
        fs::write(&path, text).expect("a text can be written");
        path
    }

    /// Writes the figures, names the complaints, and says whether there are none.
    pub(crate) fn finish(mut self) -> bool {
        let complaints = std::mem::take(&mut self.complaints);
        self.set("complaints", complaints.clone());
        let path = self.folder.join(format!("{}.json", self.part));
        let mut text = serde_json::to_string_pretty(&self.values).expect("figures are JSON");
        text.push('\n');
        fs::write(&path, text).expect("figures can be written");
        println!("\n  figures in {}", path.display());
        for complaint in &complaints {
            eprintln!("  ✗ {complaint}");
        }
        complaints.is_empty()
    }
}

impl Table {
    /// A table with these heads; the first column is text.
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(
            cells.len(),
            self.heads.len(),
            "a row has a cell for each head"
        );
        self.rows.push(cells);
    }

    /// Shows it.
    pub(crate) fn print(&self, title: &str) {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &[String]| {
            let mut text = String::from("  ");
            for (place, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                let cell = if place == 0 {
                    format!("{cell}{padding}")
                } else {
                    format!("   {padding}{cell}")
                };
                text.push_str(&cell);
            }
            text
        };
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        println!("\n  {title}\n\n{}", line(&heads));
        let rule: usize = widths.iter().sum::<usize>() + 3 * (widths.len() - 1);
        println!("  {}", "─".repeat(rule));
        for row in &self.rows {
            println!("{}", line(row));
        }
    }
}

/// The middle of some figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// The figure below which this share of the sorted figures lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a small count"
    )]
    let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// For the JSON: three digits that matter are enough, and more would promise too much.
pub(crate) fn rounded(figure: f64) -> f64 {
    if figure == 0.0 || !figure.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powf(3.0 - figure.abs().log10().ceil());
    (figure * scale).round() / scale
}

/// For people: 12,345 or 3.21.
pub(crate) fn shown(figure: f64) -> String {
    if !figure.is_finite() {
        return "–".to_owned();
    }
    if figure.abs() < 100.0 {
        return format!("{figure:.2}");
    }
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
