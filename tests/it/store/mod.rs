//! The store on real databases: every public function, what groups promise, and what happens when the database cannot.

mod claims;
mod conformance;
mod deliveries;
mod equal;
mod faults;
mod file_faults;
mod filings;
mod fixture;
mod groups;
mod hints;
mod history;
mod migrations;
mod over;
mod server_faults;
