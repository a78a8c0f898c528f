"""The demo's batch: counts with Spark and says for whom. Without Spark it counts alone."""
import sys

upto = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
try:
    from pyspark.sql import SparkSession
except ImportError:
    print(f"counted {len(range(upto))} in plain Python")
else:
    spark = SparkSession.builder.appName("count").getOrCreate()
    print(f"counted {spark.range(upto).count()} in Spark as {spark.sparkContext.sparkUser()}")
    spark.stop()
