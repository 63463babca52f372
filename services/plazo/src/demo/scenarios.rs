//! The conversations of the demo and what must follow, word for word from the table of examples in the product's
//! description. Nothing here is computed by the rules that the demo checks.
//!
//! All instants are seconds from the ticket's opening, before the demo divides them by its speed.

use std::fmt;

/// Seconds after the anchor at which the stages of every conversation are due.
pub const FIRST_ALERT_S: u32 = 10;
/// See [`FIRST_ALERT_S`].
pub const SECOND_ALERT_S: u32 = 20;
/// See [`FIRST_ALERT_S`].
pub const WARNING_S: u32 = 25;
/// See [`FIRST_ALERT_S`].
pub const CLOSE_S: u32 = 30;

/// One conversation: who takes part, what is written when, and what must follow.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What `--only` takes: lower-case words and dashes.
    pub name: &'static str,
    /// The example as the product's description writes it.
    pub example: &'static str,
    /// Whether the first unanswered message counts, instead of the last.
    pub counts_from_first_message: bool,
    /// The agent's name.
    pub agent: &'static str,
    /// The customer's name.
    pub customer: &'static str,
    /// The customer's phone number, made up.
    pub phone: &'static str,
    /// The queue's name.
    pub queue: &'static str,
    /// The text of the warning, with placeholders.
    pub warning: &'static str,
    /// What is written, by time.
    pub steps: &'static [Step],
    /// What must follow, by time, and nothing else.
    pub expected: &'static [Expected],
    /// Whether the ticket is closed at the end; otherwise it is open and shows no alert.
    pub ends_closed: bool,
}

/// Something that is written in a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Seconds from the opening.
    pub at_s: u32,
    /// Who writes.
    pub writer: Writer,
    /// The text.
    pub text: &'static str,
}

/// Who writes, and whether the customer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The agent, to the customer.
    Agent,
    /// The customer.
    Customer,
    /// The system, to the customer.
    System,
    /// The agent, a note for other agents.
    Note,
}

/// Something that must follow.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Seconds from the opening.
    pub at_s: u32,
    /// The step that it counts from: seconds of that step from the opening.
    pub counts_from_s: u32,
    /// What.
    pub effect: Effect,
    /// The alert that shows from then on.
    pub alert: Alert,
}

/// What the demo looks out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The first alert.
    FirstAlert,
    /// The second alert.
    SecondAlert,
    /// The warning.
    Warning,
    /// The close.
    Close,
    /// The alert is removed because the customer wrote.
    Cleared,
}

/// The alert that a ticket shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alert {
    /// None.
    None,
    /// Yellow.
    Yellow,
    /// Red.
    Red,
}

impl Effect {
    /// The word of the table of examples.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FirstAlert => "yellow",
            Self::SecondAlert => "red",
            Self::Warning => "warning",
            Self::Close => "closed",
            Self::Cleared => "cleared",
        }
    }
}

/// The word of the table of examples.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Yellow => "yellow",
            Self::Red => "red",
        })
    }
}

impl Scenario {
    /// The last instant that matters: what was armed by any step would have fired by then. Seconds from the opening.
    pub fn last_s(&self) -> u32 {
        let last_step_s = self.steps.iter().map(|step| step.at_s).max().unwrap_or(0);
        let last_effect_s = self
            .expected
            .iter()
            .map(|effect| effect.at_s)
            .max()
            .unwrap_or(0);
        last_effect_s.max(last_step_s + CLOSE_S)
    }
}

const PORTUGUESE: &str = "{{contact_name}}, ainda está aí? Encerro em {{time_left}}.";
const SPANISH: &str = "{{contact_name}}, ¿sigue ahí? Cierro en {{time_left}}.";

const fn agent(at_s: u32, text: &'static str) -> Step {
    Step {
        at_s,
        writer: Writer::Agent,
        text,
    }
}

const fn customer(at_s: u32, text: &'static str) -> Step {
    Step {
        at_s,
        writer: Writer::Customer,
        text,
    }
}

const fn yellow(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        effect: Effect::FirstAlert,
        alert: Alert::Yellow,
    }
}

/// A first alert in a cycle that began while red showed: red stays.
const fn yellow_under_red(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        effect: Effect::FirstAlert,
        alert: Alert::Red,
    }
}

const fn red(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        effect: Effect::SecondAlert,
        alert: Alert::Red,
    }
}

const fn warning(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        effect: Effect::Warning,
        alert: Alert::Red,
    }
}

const fn closed(at_s: u32, counts_from_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s,
        effect: Effect::Close,
        alert: Alert::None,
    }
}

const fn cleared(at_s: u32) -> Expected {
    Expected {
        at_s,
        counts_from_s: at_s,
        effect: Effect::Cleared,
        alert: Alert::None,
    }
}

/// All conversations of the demo.
pub const SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "silence",
        example: "agent 0",
        counts_from_first_message: false,
        agent: "Beatriz Oliveira",
        customer: "João Pereira",
        phone: "+5511987650001",
        queue: "Entregas",
        warning: PORTUGUESE,
        steps: &[agent(0, "Seu pedido saiu para entrega. Está em casa?")],
        expected: &[yellow(10, 0), red(20, 0), warning(25, 0), closed(30, 0)],
        ends_closed: true,
    },
    Scenario {
        name: "answer",
        example: "agent 0, customer 12",
        counts_from_first_message: false,
        agent: "Martín Gómez",
        customer: "María Quispe",
        phone: "+51987650002",
        queue: "Facturación",
        warning: SPANISH,
        steps: &[
            agent(0, "¿Me confirma el número de su factura?"),
            customer(12, "Sí, es la F-20418."),
        ],
        expected: &[yellow(10, 0), cleared(12)],
        ends_closed: false,
    },
    Scenario {
        name: "answer-then-silence",
        example: "agent 0, customer 12, agent 15",
        counts_from_first_message: false,
        agent: "Camila Rojas",
        customer: "José Núñez",
        phone: "+56987650003",
        queue: "Soporte",
        warning: SPANISH,
        steps: &[
            agent(0, "¿Ya reinició el equipo?"),
            customer(12, "Sí, y sigue igual."),
            agent(15, "¿De qué color es la luz del módem?"),
        ],
        expected: &[
            yellow(10, 0),
            cleared(12),
            yellow(25, 15),
            red(35, 15),
            warning(40, 15),
            closed(45, 15),
        ],
        ends_closed: true,
    },
    Scenario {
        name: "second-message",
        example: "agent 0, agent 8",
        counts_from_first_message: false,
        agent: "Rafael Lima",
        customer: "Luiza Ramos",
        phone: "+5521987650004",
        queue: "Vendas",
        warning: PORTUGUESE,
        steps: &[
            agent(0, "Temos o tamanho 38 em estoque."),
            agent(8, "Quer que eu reserve para você?"),
        ],
        expected: &[yellow(18, 8), red(28, 8), warning(33, 8), closed(38, 8)],
        ends_closed: true,
    },
    Scenario {
        name: "first-message-counts",
        example: "agent 0, agent 8 with FIRST_MESSAGE",
        counts_from_first_message: true,
        agent: "Lucía Fernández",
        customer: "Carlos Mendoza",
        phone: "+5491187650005",
        queue: "Reservas",
        warning: SPANISH,
        steps: &[
            agent(0, "Su mesa para cuatro está lista."),
            agent(8, "¿La confirmamos para las 21?"),
        ],
        expected: &[yellow(10, 0), red(20, 0), warning(25, 0), closed(30, 0)],
        ends_closed: true,
    },
    Scenario {
        name: "after-the-warning",
        example: "agent 0, agent 27",
        counts_from_first_message: false,
        agent: "Thiago Alves",
        customer: "Ana Clara Costa",
        phone: "+5531987650006",
        queue: "Suporte",
        warning: PORTUGUESE,
        steps: &[
            agent(0, "Consegue enviar uma foto do produto?"),
            agent(27, "Sem pressa: pode ser pelo celular."),
        ],
        expected: &[
            yellow(10, 0),
            red(20, 0),
            warning(25, 0),
            yellow_under_red(37, 27),
            red(47, 27),
            warning(52, 27),
            closed(57, 27),
        ],
        ends_closed: true,
    },
    Scenario {
        name: "no-activity",
        example: "agent 0, system message 9, note 9",
        counts_from_first_message: false,
        agent: "Valentina Díaz",
        customer: "Sofía Herrera",
        phone: "+573187650007",
        queue: "Garantías",
        warning: SPANISH,
        steps: &[
            agent(0, "¿Nos cuenta qué pasó con el equipo?"),
            Step {
                at_s: 9,
                writer: Writer::System,
                text: "Su solicitud tiene el número 7731.",
            },
            Step {
                at_s: 9,
                writer: Writer::Note,
                text: "Revisar la garantía extendida.",
            },
        ],
        expected: &[yellow(10, 0), red(20, 0), warning(25, 0), closed(30, 0)],
        ends_closed: true,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of the table, for comparison with what is written out above.
    fn as_in_the_table(scenario: &Scenario) -> String {
        let words = scenario
            .expected
            .iter()
            .map(|expected| format!("{} {}", expected.effect, expected.at_s));
        words.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_conversations_are_those_of_the_table() {
        let table = [
            ("agent 0", "yellow 10, red 20, warning 25, closed 30"),
            ("agent 0, customer 12", "yellow 10, cleared 12"),
            (
                "agent 0, customer 12, agent 15",
                "yellow 10, cleared 12, yellow 25, red 35, warning 40, closed 45",
            ),
            (
                "agent 0, agent 8",
                "yellow 18, red 28, warning 33, closed 38",
            ),
            (
                "agent 0, agent 8 with FIRST_MESSAGE",
                "yellow 10, red 20, warning 25, closed 30",
            ),
            (
                "agent 0, agent 27",
                "yellow 10, red 20, warning 25, yellow 37, red 47, warning 52, closed 57",
            ),
            (
                "agent 0, system message 9, note 9",
                "yellow 10, red 20, warning 25, closed 30",
            ),
        ];
        let written: Vec<_> = SCENARIOS
            .iter()
            .map(|s| (s.example.to_owned(), as_in_the_table(s)))
            .collect();
        let table: Vec<_> = table
            .iter()
            .map(|(example, text)| ((*example).to_owned(), (*text).to_owned()))
            .collect();
        assert_eq!(written, table);
    }

    #[test]
    fn what_is_counted_from_is_a_step_and_the_first_is_at_zero() {
        for scenario in SCENARIOS {
            assert_eq!(
                scenario.steps.first().map(|step| step.at_s),
                Some(0),
                "{}",
                scenario.name
            );
            for expected in scenario.expected {
                let is_step = scenario
                    .steps
                    .iter()
                    .any(|step| step.at_s == expected.counts_from_s);
                assert!(is_step, "{}: {expected:?}", scenario.name);
            }
        }
    }
}
