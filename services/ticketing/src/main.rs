//! The ticketing service as a process of its own.

fn main() -> std::process::ExitCode {
    plazo_service::run_main(plazo_ticketing::app::run)
}
