"""Where Flower's private parts are used."""

from flwr.app import Message, RecordDict

from flwr_resam.wire.flower import become_server, number_message


def test_a_process_that_became_the_server_writes_as_it():
    try:
        for run_id, arguments in ((1, ()), (7, (7,))):
            become_server(*arguments)
            metadata = Message(RecordDict(), dst_node_id=5, message_type="train").metadata
            assert (metadata.run_id, metadata.src_node_id) == (run_id, 1)
            assert metadata.src_task_id == 1
    finally:
        become_server()


def test_a_message_has_one_number_and_keeps_it():
    become_server()
    first, second = (Message(RecordDict(), dst_node_id=5, message_type="train") for _ in range(2))
    assert number_message(first) == number_message(first) == first.metadata.message_id
    assert number_message(second) != number_message(first)
