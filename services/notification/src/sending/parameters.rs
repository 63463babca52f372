//! Parameters of provider templates: texts in which `{{text}}` stands for the message's text.

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const TEXT: &str = "text";
const WIDE_GAP: &str = "     ";

/// Why a parameter is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParameterError {
    /// Something else between the braces.
    #[error("{{{{text}}}} is the only placeholder; two literal braces are written as {{{{{{{{")]
    Unknown,
    /// Opening braces alone.
    #[error("{{{{ is not closed by }}}}; two literal braces are written as {{{{{{{{")]
    Unclosed,
    /// More than the provider takes.
    #[error("must not have more than four spaces in a row")]
    WideGap,
}

/// Refuses everything that begins with two braces and is no placeholder, and what providers refuse each time.
pub(crate) fn check(parameter: &str) -> Result<(), ParameterError> {
    if parameter.contains(WIDE_GAP) {
        return Err(ParameterError::WideGap);
    }
    render(parameter, "").map(|_| ())
}

/// The parameter with the text in place, in one line: providers refuse line ends, tabs and more than four spaces
/// in a row. What the text says between braces means nothing.
pub(crate) fn render(parameter: &str, text: &str) -> Result<String, ParameterError> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rendered = String::new();
    let mut rest = parameter;
    while let Some((before, after_open)) = rest.split_once(OPEN) {
        rendered.push_str(before);
        if let Some(after_escape) = after_open.strip_prefix(OPEN) {
            rendered.push_str(OPEN);
            rest = after_escape;
            continue;
        }
        let (name, after_close) = after_open
            .split_once(CLOSE)
            .ok_or(ParameterError::Unclosed)?;
        if name != TEXT {
            return Err(ParameterError::Unknown);
        }
        rendered.push_str(&text);
        rest = after_close;
    }
    rendered.push_str(rest);
    Ok(rendered)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_goes_in_as_one_line() {
        let text = "Still there?\n\tWe close   soon {{x}}";
        for (parameter, expected) in [
            ("{{text}}", "Still there? We close soon {{x}}"),
            ("Ana: {{text}}!", "Ana: Still there? We close soon {{x}}!"),
            ("plain }} {", "plain }} {"),
            ("{{{{text}}", "{{text}}"),
            ("", ""),
        ] {
            assert_eq!(render(parameter, text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        for (parameter, error) in [
            ("{{name}}", ParameterError::Unknown),
            ("{{ text }}", ParameterError::Unknown),
            ("{{}}", ParameterError::Unknown),
            ("{{text", ParameterError::Unclosed),
            ("{{text}} {{", ParameterError::Unclosed),
            ("a     b", ParameterError::WideGap),
        ] {
            assert_eq!(check(parameter), Err(error), "{parameter}");
        }
    }

    /// Mostly braces and names.
    fn parameters() -> impl Strategy<Value = String> {
        const PARTS: [&str; 9] = ["{", "}", "{{", "}}", "text", "{{text}}", "a", "é", " "];
        let parts = proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..20);
        prop_oneof![parts.prop_map(|parts| parts.concat()), ".{0,40}"]
    }

    proptest! {
        #[test]
        fn any_parameter_and_text_will_do(parameter in parameters(), text in "(?s).{0,40}") {
            // One that was saved never fails, whatever the text says.
            match (check(&parameter), render(&parameter, &text)) {
                (Ok(()), rendered) => {
                    let rendered = rendered.expect("it was checked");
                    prop_assert!(rendered.len() <= parameter.len() + text.len() * parameter.len());
                }
                (Err(ParameterError::WideGap), _) => {}
                (Err(refused), rendered) => prop_assert_eq!(rendered, Err(refused)),
            }
        }
    }
}
