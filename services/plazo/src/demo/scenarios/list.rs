//! The conversations, one for each line of the table that needs no outage.

use super::{
    Act, EXCLUDED_TAG, PORTUGUESE, SPANISH, Scenario, Step, agent, cleared, closed,
    closed_after_warning, customer, done, red, warning, warning_once_allowed, yellow,
    yellow_under_red,
};

/// Nothing in the conversation depends on real seconds.
const ANY_SPEED: u32 = u32::MAX;

/// All conversations of the demo.
pub const SCENARIOS: [Scenario; 14] = [
    Scenario {
        name: "silence",
        example: "agent 0",
        counts_from_first_message: false,
        agent: "Beatriz Oliveira",
        customer: "João Pereira",
        phone: "+5511987650001",
        queue: "Entregas",
        warning: PORTUGUESE,
        max_speed: ANY_SPEED,
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
        max_speed: ANY_SPEED,
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
        max_speed: ANY_SPEED,
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
        max_speed: ANY_SPEED,
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
        max_speed: ANY_SPEED,
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
        max_speed: ANY_SPEED,
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
        max_speed: ANY_SPEED,
        steps: &[
            agent(0, "¿Nos cuenta qué pasó con el equipo?"),
            Step {
                at_s: 9,
                act: Act::System,
                text: "Su solicitud tiene el número 7731.",
            },
            Step {
                at_s: 9,
                act: Act::Note,
                text: "Revisar la garantía extendida.",
            },
        ],
        expected: &[yellow(10, 0), red(20, 0), warning(25, 0), closed(30, 0)],
        ends_closed: true,
    },
    Scenario {
        name: "hold",
        example: "agent 0, hold 5, resume 50",
        counts_from_first_message: false,
        agent: "Juliana Prado",
        customer: "Pedro Souza",
        phone: "+5541987650008",
        queue: "Financeiro",
        warning: PORTUGUESE,
        max_speed: ANY_SPEED,
        steps: &[
            agent(0, "Encontrei o pagamento em duplicidade."),
            done(5, Act::Hold, "aguardando o banco"),
            done(50, Act::Resume, ""),
        ],
        expected: &[yellow(60, 50), red(70, 50), warning(75, 50), closed(80, 50)],
        ends_closed: true,
    },
    Scenario {
        name: "hold-then-answer",
        example: "agent 0, hold 15, customer 18, agent 20",
        counts_from_first_message: false,
        agent: "Diego Paredes",
        customer: "Elena Vargas",
        phone: "+51987650009",
        queue: "Soporte",
        warning: SPANISH,
        max_speed: ANY_SPEED,
        steps: &[
            agent(0, "¿Puede probar la conexión ahora?"),
            done(15, Act::Hold, "espera al técnico"),
            customer(18, "Ya probé: sigue igual."),
            agent(20, "Gracias. ¿Ve la red en la lista?"),
        ],
        expected: &[
            yellow(10, 0),
            cleared(15),
            yellow(30, 20),
            red(40, 20),
            warning(45, 20),
            closed(50, 20),
        ],
        ends_closed: true,
    },
    Scenario {
        name: "transfer",
        example: "agent 0, transfer to queue 15",
        counts_from_first_message: false,
        agent: "Fernanda Dias",
        customer: "Bruno Melo",
        phone: "+5551987650010",
        queue: "Cobrança",
        warning: PORTUGUESE,
        max_speed: ANY_SPEED,
        steps: &[
            agent(0, "Vou encaminhar para a cobrança, tudo bem?"),
            done(15, Act::Transfer, ""),
        ],
        expected: &[yellow(10, 0), cleared(15)],
        ends_closed: false,
    },
    Scenario {
        name: "excluded-tag",
        example: "agent 0, excluded tag added 22, removed 28",
        counts_from_first_message: false,
        agent: "Paula Ibarra",
        customer: "Hugo Salas",
        phone: "+56987650011",
        queue: "Garantías",
        warning: SPANISH,
        max_speed: 1,
        steps: &[
            agent(0, "¿Me envía la foto de la etiqueta?"),
            done(22, Act::AddTag, EXCLUDED_TAG),
            done(28, Act::RemoveTag, EXCLUDED_TAG),
        ],
        expected: &[
            yellow(10, 0),
            red(20, 0),
            warning_once_allowed(28, 25),
            closed_after_warning(33, 28),
        ],
        ends_closed: true,
    },
    Scenario {
        name: "settings-doubled",
        example: "agent 0, settings doubled at 5",
        counts_from_first_message: false,
        agent: "André Nunes",
        customer: "Rita Moraes",
        phone: "+5561987650012",
        queue: "Vendas",
        warning: PORTUGUESE,
        max_speed: ANY_SPEED,
        steps: &[
            agent(0, "Fechamos o plano anual?"),
            done(5, Act::DoubleSettings, ""),
        ],
        expected: &[yellow(10, 0), red(20, 0), warning(25, 0), closed(30, 0)],
        ends_closed: true,
    },
    Scenario {
        name: "settings-applied",
        example: "agent 0, settings doubled at 5 with apply_to_open_tickets",
        counts_from_first_message: false,
        agent: "Gabriela Ortiz",
        customer: "Pablo Rivas",
        phone: "+573187650013",
        queue: "Reservas",
        warning: SPANISH,
        max_speed: ANY_SPEED,
        steps: &[
            agent(0, "¿Mantenemos su reserva?"),
            done(5, Act::ApplyDoubledSettings, ""),
        ],
        expected: &[yellow(20, 0), red(40, 0), warning(50, 0), closed(60, 0)],
        ends_closed: true,
    },
    Scenario {
        name: "settings-applied-late",
        example: "agent 0, settings doubled at 12 with apply_to_open_tickets",
        counts_from_first_message: false,
        agent: "Caio Ferraz",
        customer: "Lívia Rocha",
        phone: "+5571987650014",
        queue: "Entregas",
        warning: PORTUGUESE,
        max_speed: ANY_SPEED,
        steps: &[
            agent(0, "O entregador já chegou?"),
            done(12, Act::ApplyDoubledSettings, ""),
        ],
        expected: &[yellow(10, 0), red(40, 0), warning(50, 0), closed(60, 0)],
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
            (
                "agent 0, hold 5, resume 50",
                "yellow 60, red 70, warning 75, closed 80",
            ),
            (
                "agent 0, hold 15, customer 18, agent 20",
                "yellow 10, cleared 15, yellow 30, red 40, warning 45, closed 50",
            ),
            ("agent 0, transfer to queue 15", "yellow 10, cleared 15"),
            (
                "agent 0, excluded tag added 22, removed 28",
                "yellow 10, red 20, warning 28, closed 33",
            ),
            (
                "agent 0, settings doubled at 5",
                "yellow 10, red 20, warning 25, closed 30",
            ),
            (
                "agent 0, settings doubled at 5 with apply_to_open_tickets",
                "yellow 20, red 40, warning 50, closed 60",
            ),
            (
                "agent 0, settings doubled at 12 with apply_to_open_tickets",
                "yellow 10, red 40, warning 50, closed 60",
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
