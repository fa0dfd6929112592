//! The words and the contract of Pumasi: tasks, queues, topology, settlements, the Broker trait
