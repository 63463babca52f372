//! Colours for terminals.

use std::io::IsTerminal;

/// A way to show a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    Yellow,
    Red,
    Green,
    Cyan,
    Magenta,
}

/// Whether and how text is coloured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    is_coloured: bool,
}

impl Palette {
    /// Colours when standard output is a terminal that has them and nobody objects (<https://no-color.org>).
    pub(crate) fn of_stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            is_coloured: std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb,
        }
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { is_coloured: false }
    }

    /// The text in a style. Pad it before: the codes would count as letters.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if !self.is_coloured || style == Style::Plain {
            return text.to_owned();
        }
        let code = match style {
            Style::Plain => 0,
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Yellow => 33,
            Style::Magenta => 35,
            Style::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
