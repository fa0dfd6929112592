//! The Pumasi broker contract over one SQLite file
