//! The store on real databases: every public function, what groups promise, and what happens when the database cannot.

mod approvals;
mod claims;
mod conformance;
mod deliveries;
mod equal;
mod faults;
mod figures;
mod file_faults;
mod filings;
mod fixture;
mod groups;
mod hints;
mod history;
mod migrations;
mod notices;
mod over;
mod passkeys;
mod people;
mod server_faults;
mod sessions;
