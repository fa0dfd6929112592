//! What every Pumasi process does around its job: configuration, telemetry, health, signals, fatal errors
