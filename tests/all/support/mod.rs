//! Helpers of the tests: the node under test and its peers.
