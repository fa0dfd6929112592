//! Opens a Pumasi broker from its URL and wraps it in telemetry
