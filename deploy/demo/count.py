"""The demo's batch: counts with Spark and says for whom. Without Spark it counts alone."""
import sys

upto = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
try:
    from pyspark.sql import SparkSession
except ImportError:
    print(f"counted {len(range(upto))} in plain Python")
else:
    spark = SparkSession.builder.appName("count").getOrCreate()
    line = f"counted {spark.range(upto).count()} in Spark as {spark.sparkContext.sparkUser()}"
    # In one write: Spark runs Python unbuffered, and print's line break may come after a line of Spark's own log.
    sys.stdout.write(line + "\n")
    spark.stop()
