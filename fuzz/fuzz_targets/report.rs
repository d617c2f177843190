#![no_main]

rbees_check_fuzz::target!(report);
