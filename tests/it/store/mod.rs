//! The store on real files: every public function, what groups promise, and what happens when the database cannot.

mod claims;
mod conformance;
mod deliveries;
mod faults;
mod fixture;
mod groups;
mod hints;
mod migrations;
mod tls;
