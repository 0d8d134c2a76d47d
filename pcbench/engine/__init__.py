"""From a request to records: plan, distil, train students, test them."""
