//! The ticketing service as a process of its own.

fn main() -> std::process::ExitCode {
    plazo_service::run_main_with_schema(plazo_ticketing::app::run, plazo_ticketing::app::migrate)
}
