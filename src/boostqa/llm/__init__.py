"""The LLM engine: one asynchronous client for every endpoint, with a ledger, a throttle and hard budgets."""
